--@ use clock account uidset index mark
-- KEYS: 7 digests. ARGV: 3 most chunks of digests, then for each message: lease token, raw, epoch of the lease,
-- folded size, listed, digest
local shut = not ix.gone and closed()
if shut then return shut end
if not (ix.gone or ix.epoch) then return {'NO-EPOCH'} end

-- The marks of the batch are read at once, and removed at once; marks is what they are meanwhile.
local raws, marks, ended = {}, {}, {}
for i = 4, #ARGV, 6 do raws[#raws + 1] = ARGV[i + 1] end
for i, text in ipairs(redis.call('HMGET', KEYS[6], unpack(raws))) do marks[raws[i]] = text end

local function unmark(raw)
  marks[raw] = false
  ended[#ended + 1] = raw
end

-- commit returns whether the key was written.
local function commit(token, raw, epoch, folded, listed)
  if ix.gone then return 0 end
  local text = marks[raw]
  if ix.epoch ~= epoch then
    local m = parse(text)
    if m and m.by == token then unmark(raw) end
    return 0
  end
  if text then
    local m = not string.find(text, token, 1, true) and parse(text) -- a token is random: where it stands, the mark is its own
    if m and m.epoch == ix.epoch and m.by ~= token and other(m, listed) then return 0 end
    unmark(raw)
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

-- keep remembers a digest and the folded size. A message without a digest is one that nobody will know again.
local digests = {}
local function keep(digest, folded)
  if #digest ~= 8 then
    redis.call('HDEL', KEYS[7], 'whole')
    return
  end
  digests[#digests + 1] = digest .. struct.pack('>I2', folded)
end

-- store puts the digests into a ring of chunks of 128.
local function store()
  if #digests == 0 then return end
  local n = redis.call('HINCRBY', KEYS[7], 'n', #digests) - #digests
  local from = 1
  while from <= #digests do
    local chunk = math.floor(n / 128)
    local to = math.min(from + 127 - n % 128, #digests)
    redis.call('HSET', KEYS[7], chunk, (redis.call('HGET', KEYS[7], chunk) or '') .. table.concat(digests, '', from, to))
    redis.call('HDEL', KEYS[7], chunk - ARGV[3])
    n, from = n + to - from + 1, to + 1
  end
end

local out = {'OK'}
for i = 4, #ARGV, 6 do
  local wrote = commit(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
  if wrote == 1 then keep(ARGV[i + 5], ARGV[i + 3]) end
  out[#out + 1] = wrote
end
if #ended > 0 then redis.call('HDEL', KEYS[6], unpack(ended)) end
flush(ix)
store()
return out
