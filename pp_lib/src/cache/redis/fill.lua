-- KEYS: works. ARGV: the lease, the value and its lifetime for each.

for i, key in ipairs(KEYS) do
  if get(key) == ARGV[3 * i - 2] then
    set(key, ARGV[3 * i - 1], ARGV[3 * i])
  end
end
