--@ use clock account uidset index mark
-- ARGV: 3 nonce 4 raw 5 size 6 listed
local shut = closed()
if shut then return shut end
local raw = ARGV[4]
if lookup(ix, raw) then return {'OK', 'collected'} end
local m = parse(redis.call('HGET', KEYS[6], raw))
if m and m.by == ARGV[3] then return {'OK', 'marked'} end
if m then return {'OK', 'in-flight'} end
local kind, _, ended = state(raw)
if kind ~= 'p' or not ix.epoch then return {'OK', 'not-parked'} end
m = begin(ix.epoch, ARGV[5], ARGV[6], nil, kind, ended)
m.by, m.till = ARGV[3], 0
redis.call('HSET', KEYS[6], raw, format(m))
redis.call('HDEL', KEYS[5], raw)
return {'OK', 'marked'}
