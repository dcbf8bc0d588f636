-- KEYS: freshness, works. ARGV: staleness, lifetime of a lease, then a lease for each work.
-- Answers whether the cache is fresh, and the values; a lease that was left is the value.

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
