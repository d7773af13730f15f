-- KEYS: at, entry, told, schedule. ARGV: uid, revision, active, interval, domain, name, next (ms, 0 for never), schedule.
local uid, rev, active = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local raw = redis.call('HGET', KEYS[2], uid)
local state, was, old = '0|0|0|0|0', nil, nil
if raw then
  local r, a, s = string.match(raw, '^(%d+)|(%d)|%d+|(%d+|%d+|%d+|%d+|%d+)|')
  old, was = tonumber(r), a
  if old > rev then return 0 end
  state = s
  if old < rev then
    state = string.gsub(s, '^%d+|(%d+)|%d+|%d+|(%d+)$', '0|%1|0|0|%2')
  end
end
redis.call('HSET', KEYS[2], uid, string.format('%s|%s|%s|%s|%s|%s', ARGV[2], active, ARGV[4], state, ARGV[5], ARGV[6]))
if ARGV[8] == '' then
  redis.call('HDEL', KEYS[4], uid)
else
  redis.call('HSET', KEYS[4], uid, ARGV[8])
end
if active == '0' or ARGV[7] == '0' then
  redis.call('ZREM', KEYS[1], uid)
elseif old == rev and was == '1' then
  redis.call('ZADD', KEYS[1], 'NX', ARGV[7], uid)
else
  redis.call('ZADD', KEYS[1], ARGV[7], uid)
end
return 1
