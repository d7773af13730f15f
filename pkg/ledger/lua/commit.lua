--@ use clock account uidset index mark
-- KEYS: 7 digests. ARGV: 3 most chunks of digests, then for each message: lease token, raw, epoch of the lease,
-- folded size, listed, digest
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

-- keep puts a digest and the folded size into a ring of chunks of 128. A message without a digest is one that nobody
-- will know again.
local function keep(digest, folded)
  if #digest ~= 8 then
    redis.call('HDEL', KEYS[7], 'whole')
    return
  end
  local chunk = math.floor((redis.call('HINCRBY', KEYS[7], 'n', 1) - 1) / 128)
  redis.call('HSET', KEYS[7], chunk, (redis.call('HGET', KEYS[7], chunk) or '') .. digest .. struct.pack('>I2', folded))
  redis.call('HDEL', KEYS[7], chunk - ARGV[3])
end

local out = {'OK'}
for i = 4, #ARGV, 6 do
  local wrote = commit(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
  if wrote == 1 then keep(ARGV[i + 5], ARGV[i + 3]) end
  out[#out + 1] = {'OK', wrote}
end
return out
