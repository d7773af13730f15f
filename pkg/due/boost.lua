-- KEYS: at, entry, told, schedule, holder, states, boost. ARGV: uid, for (ms), least time between two starts (ms). Answers until when and the next
-- due time, nothing where there is no such account or it is not active.
local raw = redis.call('HGET', KEYS[2], ARGV[1])
local active, nb, last = string.match(raw or '', '^%d+|(%d)|%d+|(%d+)|%d+|%d+|%d+|(%d+)|')
if active ~= '1' then return {} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[7], 'GT', string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
local soonest = math.max(now, tonumber(nb), tonumber(last) + tonumber(ARGV[3]))
local at = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not at or tonumber(at) > soonest then
  at = string.format('%.0f', soonest)
  redis.call('ZADD', KEYS[1], at, ARGV[1])
end
return {redis.call('ZSCORE', KEYS[7], ARGV[1]), at}
