-- KEYS: the index of accepted demands. ARGV: their age, how many at most. Those that are taken are as old as new ones.

local time = now()
local codes = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', time - ARGV[1], 'LIMIT', 0, ARGV[2])
for _, code in ipairs(codes) do
  redis.call('ZADD', KEYS[1], time, code)
end
return codes
