--@ use clock account uidset index guard
-- KEYS: 12.. for each other active account of the slot: meta, index, tail, sets, states
-- ARGV: 3 token 4 epoch 5 own account 6 number of the others, their names, then for each key: raw, folded size, listed, digest
local no = stale()
if no then return no end
local others = tonumber(ARGV[6])
local active = redis.call('HGETALL', KEYS[9])
local want, all = {}, {ix}
for i = 1, others do
  want[ARGV[6 + i]] = true
  local k = 11 + (i - 1) * 5
  all[i + 1] = load(KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4], KEYS[k + 5])
end
for i = 1, #active, 2 do
  if active[i] == ARGV[5] then
    if active[i + 1] ~= '1' then return {'ENROLL'} end
  elseif active[i + 1] ~= '0' and not want[active[i]] then
    return {'ACCOUNTS'}
  end
end

-- has says that an account has collected this message. Another account's entry with another LIST size is of
-- an earlier message with the same unique-id; for its own the run has decided that.
local function has(a, raw, size)
  if a.gone or a.moved or not a.epoch or a.key ~= ARGV[2] then return false end
  local was, _, v = lookup(a, raw)
  if was ~= 'c' then return false end
  return a == ix or #raw == 12 or size == 0 or struct.unpack('>I2', v) == size
end

local function everywhere(raw, size)
  for _, a in ipairs(all) do
    if not has(a, raw, size) then return false end
  end
  return true
end

redis.call('HDEL', KEYS[1], 'confirmed')
local out = {'OK'}
for i = 7 + others, #ARGV, 4 do
  local raw = ARGV[i]
  if everywhere(raw, tonumber(ARGV[i + 1])) then
    for _, a in ipairs(all) do
      redis.call('HSET', a.states, raw, 'x ' .. ARGV[i + 2] .. ' ' .. ARGV[i + 3] .. '\n')
    end
    out[#out + 1] = raw
  end
end
return out
