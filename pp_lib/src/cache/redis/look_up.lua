-- KEYS: freshness, works. ARGV: staleness, lifetime of a lease, the bytes of values at which the answer ends, then a
-- lease for each work.
-- Answers if the cache is fresh, and the values of the first works. A lease that this call left is returned as a value.

local moment = tonumber(get(KEYS[1]))
local age = moment and now() - moment
local fresh = age and age >= 0 and age <= tonumber(ARGV[1])
local values, bytes = {}, 0
for i = 2, #KEYS do
  if bytes >= tonumber(ARGV[3]) then break end
  local value = get(KEYS[i])
  if fresh and not parse(value) then
    value = ARGV[i + 2]
    set(KEYS[i], value, ARGV[2])
  end
  values[i - 1] = value
  if value then bytes = bytes + #value end
end
return {fresh and 1 or 0, values}
