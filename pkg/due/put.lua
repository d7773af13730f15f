--@ state
-- KEYS: at, entry, told, schedule, holder, states, boost. ARGV: uid, revision, active, interval, domain, name, next (ms, 0 for never), schedule,
-- repeated.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local boosts = redis.call('ZCARD', KEYS[7]) > 0
local function put(uid, revision, active, interval, domain, name, next, schedule)
  local raw = redis.call('HGET', KEYS[2], uid)
  local rev, state, was, old, quiet = tonumber(revision), '0|0|0|0|0', nil, nil, ''
  local boosted = boosts and tonumber(redis.call('ZSCORE', KEYS[7], uid) or 0) > now
  if raw then
    local r, a, s, kind = string.match(raw, '^(%d+)|(%d)|%d+|(%d+|(%d+)|%d+|%d+|%d+)|')
    if r then -- else it cannot be read, and is written anew
      old, was, state = tonumber(r), a, s
      if old > rev then return end
      if old == rev then quiet = string.match(raw, '^%d+|%d|%d+|%d+|%d+|%d+|%d+|%d+|(~%d+|)') or '' end
      if old < rev then
        state = string.gsub(s, '^%d+|(%d+)|%d+|%d+|(%d+)$', '0|%1|0|0|%2')
        if kind ~= '0' and tonumber(next) > now then next = string.format('%.0f', now) end
      end
    end
  end
  write(KEYS, uid, raw, string.format('%s|%s|%s|%s|%s%s|%s', revision, active, interval, state, quiet, domain, name))
  if schedule == '' then
    redis.call('HDEL', KEYS[4], uid)
  else
    redis.call('HSET', KEYS[4], uid, schedule)
  end
  local at = boosted and redis.call('ZSCORE', KEYS[1], uid) -- an edit does not end a boost
  if at and (next == '0' or tonumber(at) < tonumber(next)) then next = at end
  if active == '0' or next == '0' then
    redis.call('ZREM', KEYS[1], uid)
  elseif old == rev and was == '1' then
    redis.call('ZADD', KEYS[1], 'NX', next, uid)
  else
    redis.call('ZADD', KEYS[1], next, uid)
  end
end
for i = 1, #ARGV, 8 do put(unpack(ARGV, i, i + 7)) end
return 1
