-- KEYS: codes. ARGV: the bytes of values at which the answer ends. Answers the values of the first codes, at least one.

local values, bytes = {}, 0
for i, key in ipairs(KEYS) do
  if bytes >= tonumber(ARGV[1]) then break end
  values[i] = get(key)
  if values[i] then bytes = bytes + #values[i] end
end
return values
