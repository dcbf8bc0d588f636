-- KEYS: the index of accepted demands, then codes. ARGV: the capacity of the index and its lifetime, then for each code
-- the value, its lifetime and the code itself.

local accepted = false
for i = 2, #KEYS do
  local key, at = KEYS[i], 3 * i - 3
  local value, present = ARGV[at], get(key)
  local known = present and (string.find(present, '^i%d+$') or string.find(present, '^p{.*}$'))
  if not known or string.sub(value, 1, 1) == 'i' then
    set(key, value, ARGV[at + 1])
    if string.sub(value, 1, 1) == 'p' then
      redis.call('ZADD', KEYS[1], now(), ARGV[at + 2])
      accepted = true
    end
  end
end
if accepted then
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
