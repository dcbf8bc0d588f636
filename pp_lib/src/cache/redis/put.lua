-- KEYS: works. ARGV: since, the age at which a value is late, the lifetime of unconfirmed values, then the value and
-- its
-- lifetime for each.

local age = now() - tonumber(ARGV[1])
local late = age < 0 or age > tonumber(ARGV[2])
for i, key in ipairs(KEYS) do
  local value, lifetime = ARGV[2 * i + 2], ARGV[2 * i + 3]
  local kind, version = parse(value)
  local present, present_version = parse(get(key))
  if kind == 'deleted' then
    set(key, value, lifetime)
  elseif present ~= 'deleted' and version > present_version then
    if present == 'confirmed' then
      set(key, value, lifetime)
    elseif not late then
      set(key, '~' .. value, ARGV[3])
    else
      -- The writer that committed this value must not read an older one.
      redis.call('DEL', key)
    end
  end
end
