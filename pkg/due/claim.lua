-- KEYS: at, entry, told, schedule, holder, states, boost. ARGV: limit, lease (ms), planner, hold (ms). Answers nothing where another planner
-- holds the shard, else "held" and then uid, entry, due, lease score, schedule, end of the boost for each.
local holder = redis.call('GET', KEYS[5])
if holder and holder ~= ARGV[3] then return {} end
redis.call('SET', KEYS[5], ARGV[3], 'PX', ARGV[4])
local out = {'held'}
if ARGV[1] == '0' then return out end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local rows = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
local lease = string.format('%.0f', now + tonumber(ARGV[2]))
local own = redis.call('HLEN', KEYS[4]) > 0
local boosts = #rows > 0 and redis.call('ZCARD', KEYS[7]) > 0
if boosts then redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', now) end
for i = 1, #rows, 2 do
  local raw = redis.call('HGET', KEYS[2], rows[i])
  if raw then
    redis.call('ZADD', KEYS[1], lease, rows[i])
    out[#out + 1] = rows[i]
    out[#out + 1] = raw
    out[#out + 1] = rows[i + 1]
    out[#out + 1] = lease
    out[#out + 1] = own and redis.call('HGET', KEYS[4], rows[i]) or ''
    out[#out + 1] = boosts and redis.call('ZSCORE', KEYS[7], rows[i]) or ''
  else
    redis.call('ZREM', KEYS[1], rows[i])
  end
end
return out
