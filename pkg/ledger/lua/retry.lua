--@ use clock account uidset index mark
-- ARGV: 3 nonce 4 raw 5 size 6 listed
local shut = closed()
if shut then return shut end
local raw = ARGV[4]
if lookup(ix, raw) == 'c' then return {'OK', 'collected'} end
local m = parse(redis.call('HGET', KEYS[6], raw))
if m and m.by == ARGV[3] then return {'OK', 'marked'} end
if m then return {'OK', 'in-flight'} end
local kind, _, blob = state(raw)
if kind ~= 'p' or not ix.epoch then return {'OK', 'not-parked'} end
redis.call('HSET', KEYS[6], raw, format({epoch = ix.epoch, size = ARGV[5], listed = ARGV[6],
  attempts = 0, takes = 0, by = ARGV[3], till = 0, blob = blob}))
redis.call('HDEL', KEYS[5], raw)
return {'OK', 'marked'}
