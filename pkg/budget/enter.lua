-- KEYS: sessions, line, hash, breaker of the address. ARGV: session, who, life of a session (ms), sessions, logins per minute, hurry, longest line.
-- Returns 1 and how often the host failed of late; or 0 and when to come again, in ms from now.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local most, rate = tonumber(ARGV[4]), tonumber(ARGV[5])
local h = redis.call('HMGET', KEYS[3], 'tat', 'last', 'took')
local d = redis.call('HMGET', KEYS[4], 'fails', 'shut')
local tat, last, took, fails, shut = tonumber(h[1] or 0), tonumber(h[2] or 0), tonumber(h[3] or 1000), tonumber(d[1] or 0), tonumber(d[2] or 0)
for _, k in ipairs(KEYS) do redis.call('PEXPIRE', k, 3600000) end

-- When there is room: sessions, logins (GCRA; never more than two above the rate in any minute), the breaker.
local free, step = shut, 0
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now) -- their workers died
if most > 0 then
  step = took / most
  if redis.call('ZCARD', KEYS[1]) >= most then free = math.max(free, now + math.max(step, 50)) end
end
local every = 0
if rate > 0 then
  every = 60000 / (0.98 * rate)
  step = math.max(step, every)
  local burst = 2 + math.floor(0.02 * rate)
  free = math.max(free, math.max(tat, now) + every - burst * every)
end

-- Who waits: each has a time; who does not come within half a minute of it has lost it.
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - 30000)
local mine = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[2]) or nil)
local line = redis.call('ZCARD', KEYS[2])
local turn = ARGV[6] == '1' or line == 0 or (mine and mine <= now + 1000)
if free <= now and turn then
  if mine then redis.call('ZREM', KEYS[2], ARGV[2]) end
  if rate > 0 then redis.call('HSET', KEYS[3], 'tat', string.format('%.3f', math.max(tat, now) + every)) end
  if most > 0 then redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1]) end
  if shut > 0 then redis.call('HSET', KEYS[4], 'shut', now + 30000) end -- one finds out
  return {1, fails}
end
if ARGV[6] == '1' then return {0, math.ceil(math.max(free - now, 100))} end
if mine and mine > now + 1000 then return {0, math.ceil(mine - now)} end
local at
if mine then
  at = math.max(free, now + 100)
else
  at = math.max(last, free, now) + 0.97 * step
  if line >= tonumber(ARGV[7]) then return {0, math.ceil(math.max(at - now, 1000))} end
  redis.call('HSET', KEYS[3], 'last', string.format('%.3f', at))
end
redis.call('ZADD', KEYS[2], at, ARGV[2])
return {0, math.ceil(at - now)}
