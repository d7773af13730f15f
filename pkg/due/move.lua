-- KEYS: at, entry. ARGV: uid, revision, due (ms). Answers 0 if the account was edited since that revision, or is not
-- active any more.
local raw = redis.call('HGET', KEYS[2], ARGV[1])
if not raw then return 1 end
local rev, active = string.match(raw, '^(%d+)|(%d)|')
if tonumber(rev) > tonumber(ARGV[2]) or active == '0' then return 0 end
redis.call('ZADD', KEYS[1], 'XX', ARGV[3], ARGV[1])
return 1
