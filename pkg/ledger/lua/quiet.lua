--@ use clock account guard
-- ARGV: 3 token 4 epoch 5 how many fields are dropped, they, then pairs of field and value; the time is added.
local no = stale()
if no then return no end
local n = 5 + ARGV[5]
for i = 6, n do redis.call('HDEL', KEYS[4], ARGV[i]) end
for i = n + 1, #ARGV, 2 do
  redis.call('HSET', KEYS[4], ARGV[i], string.format('%s %.0f', ARGV[i + 1], now / 1000))
end
return {'OK'}
