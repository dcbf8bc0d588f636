-- Shared by all scripts: the clock, and the form of values.

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The kind of a value and its version. A missing or foreign value has no kind.
local function parse(value)
  if not value then return nil, 0 end
  if value == 'x' then return 'deleted', 0 end
  if value == '0 ' then return 'unknown', 0 end
  if string.find(value, '^%?%d+$') then return 'lease', 0 end
  local unconfirmed, version = string.match(value, '^(~?)(%d+) {.*}$')
  if not version then return nil, 0 end
  return unconfirmed == '' and 'confirmed' or 'unconfirmed', tonumber(version)
end

-- MGET does not fail if the key holds a value of another type; GET does.
local function get(key)
  return redis.call('MGET', key)[1]
end

local function set(key, value, lifetime_ms)
  redis.call('SET', key, value, 'PX', lifetime_ms)
end
