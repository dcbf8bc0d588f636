-- KEYS: name. ARGV: a new name. Answers the name of the cache; a cache without one gets the new name.

local name = get(KEYS[1])
if not name or not string.find(name, '^%x+$') or #name ~= #ARGV[1] then
  name = ARGV[1]
  redis.call('SET', KEYS[1], name)
end
return name
