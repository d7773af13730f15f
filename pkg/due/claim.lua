-- KEYS: at, entry, told, schedule, holder, states, boost. ARGV: limit, lease (ms), planner, hold (ms). Answers nothing where another planner
-- holds the shard, else the lease score and, if there is something due, the uids with their due times, the entries, and the
-- schedules and ends of boosts of those that have one. What is read or written is so together: a call costs more than what it does.
local holder = redis.call('GET', KEYS[5])
if holder and holder ~= ARGV[3] then return {} end
redis.call('SET', KEYS[5], ARGV[3], 'PX', ARGV[4])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local lease = string.format('%.0f', now + tonumber(ARGV[2]))
if ARGV[1] == '0' then return {lease} end
local rows = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
if #rows == 0 then return {lease} end
local uids, add, drop = {}, {}, {}
for i = 1, #rows, 2 do uids[#uids + 1] = rows[i] end
local raws = redis.call('HMGET', KEYS[2], unpack(uids))
for i, uid in ipairs(uids) do
  if raws[i] then
    add[#add + 1] = lease
    add[#add + 1] = uid
  else
    drop[#drop + 1] = uid
  end
end
if #add > 0 then redis.call('ZADD', KEYS[1], unpack(add)) end
if #drop > 0 then redis.call('ZREM', KEYS[1], unpack(drop)) end
local own, boosts = {}, {}
if redis.call('HLEN', KEYS[4]) > 0 then own = redis.call('HMGET', KEYS[4], unpack(uids)) end
if redis.call('ZCARD', KEYS[7]) > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', now)
  boosts = redis.call('ZMSCORE', KEYS[7], unpack(uids))
end
return {lease, rows, raws, own, boosts}
