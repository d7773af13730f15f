--@ use clock account mark guard
-- ARGV: 3 token 4 epoch 5 nonce, then the raw keys
local no = stale()
if no then return no end
for i = 6, #ARGV do
  local raw = ARGV[i]
  local m = parse(redis.call('HGET', KEYS[6], raw))
  if m and m.till <= now and m.by ~= ARGV[5] then
    if m.attempts <= 1 and m.takes == 0 and m.blob == '' then
      redis.call('HDEL', KEYS[6], raw)
    else
      m.attempts, m.by = math.max(m.attempts - 1, 0), ARGV[5]
      redis.call('HSET', KEYS[6], raw, format(m))
    end
  end
end
return {'OK'}
