--@ use clock account
-- ARGV: 3 account 4 life of the tombstone, ms
if ix.moved and not ix.gone then
  redis.call('HSET', KEYS[1], 'gone', 1)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  return {'MOVED', ix.moved}
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[8])
redis.call('HDEL', KEYS[9], ARGV[3])
redis.call('ZREM', KEYS[10], ARGV[3])
redis.call('HSET', KEYS[1], 'gone', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {'OK'}
