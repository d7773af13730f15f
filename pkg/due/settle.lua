--@ state
-- KEYS: at, entry, told, schedule, holder, states. ARGV: uid, kind, counts, clears, not-before (ms), now (ms).
local uid = ARGV[1]
local raw = redis.call('HGET', KEYS[2], uid)
if not raw then return {} end
local head, nb, _, fails, since, _, tail =
  string.match(raw, '^(%d+|%d|%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)$')
nb = ARGV[5]
if ARGV[4] == '1' then
  fails, since = '0', '0'
elseif ARGV[3] == '1' then
  fails = string.format('%d', tonumber(fails) + 1)
  if since == '0' then since = ARGV[6] end
end
write(KEYS, uid, raw, string.format('%s|%s|%s|%s|%s|%s|%s', head, nb, ARGV[2], fails, since, ARGV[6], tail))
local at = redis.call('ZSCORE', KEYS[1], uid)
if at and tonumber(at) < tonumber(nb) then redis.call('ZADD', KEYS[1], nb, uid) end
return {fails, since, redis.call('HGET', KEYS[3], uid) or ''}
