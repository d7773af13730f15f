--@ use clock account uidset index mark guard
-- ARGV: 3 token 4 epoch, then for each key: raw, folded size
local no = stale()
if no then return no end
for i = 5, #ARGV, 2 do
  local raw = ARGV[i]
  local was, where = lookup(ix, raw)
  if #raw == 7 and was == 'c' then
    put(ix, raw, value(ARGV[i + 1], true), where)
    if state(raw) == 'x' then redis.call('HDEL', KEYS[5], raw) end
  end
end
flush(ix)
return {'OK'}
