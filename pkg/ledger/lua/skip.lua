--@ use clock account uidset index mark guard
-- ARGV: 3 token 4 epoch, then for each key: raw, folded size
local no = stale()
if no then return no end
for i = 5, #ARGV, 2 do
  local raw = ARGV[i]
  if #raw == 12 then open_set(raw) end
  local was, where = lookup(ix, raw)
  local kind = state(raw)
  if not was and kind ~= 'p' and redis.call('HEXISTS', KEYS[6], raw) == 0 then
    put(ix, raw, value(ARGV[i + 1], true), where)
    if kind then redis.call('HDEL', KEYS[5], raw) end
  end
end
flush(ix)
return {'OK'}
