-- KEYS: works. ARGV: the value and its lifetime for each.

for i, key in ipairs(KEYS) do
  local value, lifetime = ARGV[2 * i - 1], ARGV[2 * i]
  local kind, version = parse(value)
  local present, present_version = parse(get(key))
  if present and kind == 'deleted' then
    set(key, value, lifetime)
  elseif present == 'lease' then
    redis.call('DEL', key)
  elseif present and present ~= 'deleted' and version >= present_version then
    set(key, value, lifetime)
  end
end
