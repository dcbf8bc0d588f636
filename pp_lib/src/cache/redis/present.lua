-- KEYS: works. Answers for each whether it is there.

local present = {}
for i, key in ipairs(KEYS) do
  present[i] = redis.call('EXISTS', key)
end
return present
