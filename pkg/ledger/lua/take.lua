--@ use clock account uidset index mark
-- ARGV: 3 lease token 4 lease ms 5 most takes 6 raw 7 size 8 listed
local shut = closed()
if shut then return shut end
if not ix.epoch then return {'NO-EPOCH'} end
local raw = ARGV[6]
if lookup(ix, raw) then return {'REPEAT'} end
local old = parse(redis.call('HGET', KEYS[6], raw))
local kind, holds, blob = state(raw)
if kind == 'p' or kind == 'x' or (kind == 'd' and holds) then return {'REPEAT'} end
if kind == 'g' and holds and not old then return {'REPEAT'} end
if old and old.till > now and old.by ~= ARGV[3] then return {'BUSY', old.till - now} end
local m = {epoch = ix.epoch, size = ARGV[7], listed = ARGV[8], attempts = 0, takes = 0, blob = ''}
if old and old.epoch == ix.epoch then
  m.attempts, m.takes, m.blob = old.attempts, old.takes, old.blob
elseif kind == 'd' then
  m.blob = blob
end
if not (old and old.by == ARGV[3]) then m.takes = m.takes + 1 end
m.by, m.till = ARGV[3], now + ARGV[4]
redis.call('HSET', KEYS[6], raw, format(m))
if kind then redis.call('HDEL', KEYS[5], raw) end
return {'OK', m.epoch, m.takes, m.takes > tonumber(ARGV[5]) and 1 or 0, m.blob}
