--@ state
-- KEYS: at, entry, told, schedule, holder, states, boost. ARGV: uid, repeated.
for _, uid in ipairs(ARGV) do
  redis.call('ZREM', KEYS[1], uid)
  redis.call('HDEL', KEYS[3], uid)
  redis.call('HDEL', KEYS[4], uid)
  redis.call('ZREM', KEYS[7], uid)
  write(KEYS, uid, redis.call('HGET', KEYS[2], uid), nil)
end
return 1
