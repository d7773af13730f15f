--@ use clock account guard
-- ARGV: 3 token 4 epoch 5 how many fields are dropped, they, then for each record its field, its value and its
-- time (s), 0 for now, which is added.
local no = stale()
if no then return no end
local n = 5 + ARGV[5]
for i = 6, n do redis.call('HDEL', KEYS[4], ARGV[i]) end
for i = n + 1, #ARGV, 3 do
  local since = ARGV[i + 2] == '0' and math.floor(now / 1000) or ARGV[i + 2]
  redis.call('HSET', KEYS[4], ARGV[i], string.format('%s %.0f', ARGV[i + 1], since))
end
return {'OK'}
