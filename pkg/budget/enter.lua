-- KEYS: sessions, line, hash, breaker of the address, last place of each domain in line. ARGV: session, who, life of a session (ms), sessions,
-- logins per minute, hurry, longest line, domain, longest time away (ms), longest wait of one whose turn it stays (ms).
-- Returns 1 and how often the host failed of late; or 0 and when to come again, in ms from now.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local most, rate = tonumber(ARGV[4]), tonumber(ARGV[5])
local h = redis.call('HMGET', KEYS[3], 'tat', 'took')
local d = redis.call('HMGET', KEYS[4], 'fails', 'shut')
local tat, took, fails, shut = tonumber(h[1] or 0), tonumber(h[2] or 1000), tonumber(d[1] or 0), tonumber(d[2] or 0)
for _, k in ipairs(KEYS) do redis.call('PEXPIRE', k, 3600000) end

-- When there is room, and for how many: sessions, logins (GCRA; never more than two above the rate in any minute), the breaker.
local free, step, places = shut, 0, tonumber(ARGV[7])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now) -- their workers died
if most > 0 then
  step = took / most
  places = most - redis.call('ZCARD', KEYS[1])
  if places <= 0 then free = math.max(free, now + math.max(step, 50)) end
end
local every = 0
if rate > 0 then
  every = 60000 / (0.98 * rate)
  step = math.max(step, every)
  local burst, ahead = 2 + math.floor(0.02 * rate), math.max(tat, now)
  free = math.max(free, ahead + every - burst * every)
  places = math.min(places, (now - ahead) / every + burst)
end

-- Who waits: each has a time; who does not come within half a minute of it has lost it. A place that none of those needs whose turn it
-- is is for who comes: the times were given when the host was slower, or out of order, and else it would stand empty beside a line.
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - 30000)
local near = redis.call('ZCOUNT', KEYS[2], '-inf', now + 1000)
local mine = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[2]) or nil)
local turn = mine and mine <= now + 1000
if free <= now and (ARGV[6] == '1' or turn or near < places) then
  if mine then redis.call('ZREM', KEYS[2], ARGV[2]) end
  if rate > 0 then redis.call('HSET', KEYS[3], 'tat', string.format('%.3f', math.max(tat, now) + every)) end
  if most > 0 then redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1]) end
  if shut > 0 then redis.call('HSET', KEYS[4], 'shut', now + 30000) end -- one finds out
  return {1, fails}
end
if ARGV[6] == '1' then return {0, math.ceil(math.max(free - now, 100))} end
local away, again = tonumber(ARGV[9]), tonumber(ARGV[10])
if turn then -- those that are as far come one after the other; it stays the turn of those that need not wait long for it
  local wait = math.max(free - now, 100) + step * (near - 1)
  redis.call('ZADD', KEYS[2], wait > again and now + wait or now, ARGV[2])
  return {0, math.ceil(math.min(wait, away))}
end
if mine then return {0, math.ceil(math.min(mine - now, away))} end

-- Each domain in line has every n-th place, n being how many they are: the accounts of one are behind one another, not behind those
-- of another. Who is to come late looks in before.
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now)
local last = tonumber(redis.call('ZSCORE', KEYS[5], ARGV[8]) or nil)
local domains = redis.call('ZCARD', KEYS[5]) + (last and 0 or 1)
local at = math.max((last or -math.huge) + step * domains, math.max(free, now) + step * (domains - 1))
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[7]) then return {0, math.ceil(math.min(math.max(at - now, 1000), away))} end
redis.call('ZADD', KEYS[5], string.format('%.3f', at), ARGV[8])
redis.call('ZADD', KEYS[2], at, ARGV[2])
return {0, math.ceil(math.min(at - now, away))}
