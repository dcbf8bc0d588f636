-- KEYS: codes. ARGV: the value and its lifetime for each.

for i, key in ipairs(KEYS) do
  local value, present = ARGV[2 * i - 1], get(key)
  local known = present and (string.find(present, '^i%d+$') or string.find(present, '^p%d+ %-?%d+$'))
  if not known or string.sub(value, 1, 1) == 'i' then
    set(key, value, ARGV[2 * i])
  end
end
