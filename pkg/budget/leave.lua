-- KEYS: sessions, hash. ARGV: session, how long it took (ms).
redis.call('ZREM', KEYS[1], ARGV[1])
local took = tonumber(redis.call('HGET', KEYS[2], 'took') or ARGV[2])
redis.call('HSET', KEYS[2], 'took', string.format('%.0f', 0.9 * took + 0.1 * tonumber(ARGV[2])))
redis.call('PEXPIRE', KEYS[2], 3600000)
return 1
