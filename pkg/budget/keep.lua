-- KEYS: sessions. ARGV: session, its life (ms).
local clock = redis.call('TIME')
return redis.call('ZADD', KEYS[1], 'XX', clock[1] * 1000 + math.floor(clock[2] / 1000) + tonumber(ARGV[2]), ARGV[1])
