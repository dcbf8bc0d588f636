-- KEYS: works. Answers for each if it has an entry.

local present = {}
for i, key in ipairs(KEYS) do
  present[i] = redis.call('EXISTS', key)
end
return present
