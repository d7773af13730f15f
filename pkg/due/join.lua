-- KEYS: planners. ARGV: planner, hold (ms), 0 to leave. Answers the place of the planner among those there are, from 0, how many
-- they are, and the time (ms).
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if ARGV[2] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return {0, 0, now}
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
local all = redis.call('ZRANGE', KEYS[1], 0, -1)
local place = 0
for _, other in ipairs(all) do
  if other < ARGV[1] then place = place + 1 end
end
return {place, #all, now}
