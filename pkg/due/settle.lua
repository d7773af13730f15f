--@ state
-- KEYS: at, entry, told, schedule, holder, states. ARGV: uid, kind, counts, clears, not-before (ms), now (ms), what was
-- found ("none", "some", or empty for who does not say).
local uid = ARGV[1]
local raw = redis.call('HGET', KEYS[2], uid)
if not raw then return {} end
local head, nb, _, fails, since, _, tail =
  string.match(raw, '^(%d+|%d|%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)$')
nb = ARGV[5]
local quiet, rest = string.match(tail, '^~(%d+)|(.*)$')
tail, quiet = rest or tail, tonumber(quiet or 0)
local is = (ARGV[7] == 'some' and 0) or (ARGV[7] == 'none' and math.min(quiet + 1, 99)) or quiet
if is > 0 then tail = string.format('~%d|%s', is, tail) end
if ARGV[4] == '1' then
  fails, since = '0', '0'
elseif ARGV[3] == '1' then
  fails = string.format('%d', tonumber(fails) + 1)
  if since == '0' then since = ARGV[6] end
end
write(KEYS, uid, raw, string.format('%s|%s|%s|%s|%s|%s|%s', head, nb, ARGV[2], fails, since, ARGV[6], tail))
local at = redis.call('ZSCORE', KEYS[1], uid)
if at and tonumber(at) < tonumber(nb) then redis.call('ZADD', KEYS[1], nb, uid) end
return {fails, since, redis.call('HGET', KEYS[3], uid) or '', string.format('%d', quiet)}
