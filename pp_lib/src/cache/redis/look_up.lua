-- KEYS: freshness, works. ARGV: staleness, lifetime of a lease, then a lease for each work.
-- Answers if the cache is fresh, and the values. A lease that this call left is returned as a value.

local moment = tonumber(get(KEYS[1]))
local age = moment and now() - moment
local fresh = age and age >= 0 and age <= tonumber(ARGV[1])
local values = {}
for i = 2, #KEYS do
  local value = get(KEYS[i])
  if fresh and not parse(value) then
    value = ARGV[i + 1]
    set(KEYS[i], value, ARGV[2])
  end
  values[i - 1] = value
end
return {fresh and 1 or 0, values}
