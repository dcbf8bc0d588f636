-- KEYS: the index of accepted demands. ARGV: the minimum age, the maximum number. Taken codes are listed as new ones.

local time = now()
local codes = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', time - ARGV[1], 'LIMIT', 0, ARGV[2])
for _, code in ipairs(codes) do
  redis.call('ZADD', KEYS[1], time, code)
end
return codes
