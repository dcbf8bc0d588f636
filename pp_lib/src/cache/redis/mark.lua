-- KEYS: position, freshness. ARGV: from, to, since, staleness. Answers the previous position.

local position = get(KEYS[1])
if position == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2])
  local at, since = now(), tonumber(ARGV[3])
  local left = since + tonumber(ARGV[4]) - at
  local marked = tonumber(get(KEYS[2]))
  -- A mark in the future comes from before the clock was set back.
  local newer = marked and marked >= since and marked <= at
  if since <= at and left > 0 and not newer then
    set(KEYS[2], ARGV[3], string.format('%.0f', left))
  end
end
return position
