-- KEYS: sessions, line, hash, breaker of the address, last place of each domain in line. ARGV: session, who, life of a session (ms), sessions,
-- logins per minute, hurry, longest line, domain.
-- Returns 1 and how often the host failed of late; or 0 and when to come again, in ms from now.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local most, rate = tonumber(ARGV[4]), tonumber(ARGV[5])
local h = redis.call('HMGET', KEYS[3], 'tat', 'took')
local d = redis.call('HMGET', KEYS[4], 'fails', 'shut')
local tat, took, fails, shut = tonumber(h[1] or 0), tonumber(h[2] or 1000), tonumber(d[1] or 0), tonumber(d[2] or 0)
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

-- Each domain in line has every n-th place, n being how many they are: the accounts of one are behind one another, not behind those
-- of another. A domain that comes makes more of them come at a time for a while: who finds no place goes behind those.
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now)
local last = tonumber(redis.call('ZSCORE', KEYS[5], ARGV[8]) or nil)
local domains = redis.call('ZCARD', KEYS[5]) + (last and 0 or 1)
local at
if mine then
  at = math.max(free, now + 100)
  if domains > 1 then at = at + step * math.max(0, redis.call('ZCOUNT', KEYS[2], '-inf', now) - 1) end
else
  at = math.max(last or 0, free, now) + 0.97 * step * domains
  if line >= tonumber(ARGV[7]) then return {0, math.ceil(math.max(at - now, 1000))} end
  redis.call('ZADD', KEYS[5], string.format('%.3f', at), ARGV[8])
end
redis.call('ZADD', KEYS[2], at, ARGV[2])
return {0, math.ceil(at - now)}
