--@ use clock account uidset index mark
-- ARGV: for each message from 3 on: lease token, raw, epoch of the lease, folded size, listed
local shut = not ix.gone and closed()
if shut then return shut end
if not (ix.gone or ix.epoch) then return {'NO-EPOCH'} end

-- commit returns whether the key was written.
local function commit(token, raw, epoch, folded, listed)
  if ix.gone then return 0 end
  local text = redis.call('HGET', KEYS[6], raw)
  if ix.epoch ~= epoch then
    local m = parse(text)
    if m and m.by == token then redis.call('HDEL', KEYS[6], raw) end
    return 0
  end
  if text then
    local m = parse(text)
    if m and m.epoch == ix.epoch and m.by ~= token and other(m, listed) then return 0 end
    redis.call('HDEL', KEYS[6], raw)
    put(ix, raw, value(folded))
    return 1
  end
  local was, where = lookup(ix, raw)
  if was == 'c' then return 0 end
  local kind, holds, ended = state(raw)
  if kind == 'g' and holds and ended.listed == folded then return 0 end
  put(ix, raw, value(folded), where)
  if kind then redis.call('HDEL', KEYS[5], raw) end
  return 1
end

local out = {'OK'}
for i = 3, #ARGV, 5 do
  out[#out + 1] = {'OK', commit(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])}
end
return out
