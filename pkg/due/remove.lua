--@ state
-- KEYS: at, entry, told, schedule, holder, states, boost. ARGV: uid.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[7], ARGV[1])
write(KEYS, ARGV[1], redis.call('HGET', KEYS[2], ARGV[1]), nil)
return 1
