--@ use clock account uidset index guard
-- KEYS: 11.. for each other active account of the slot: meta, index, tail, sets, states
-- ARGV: 3 token 4 epoch 5 own account 6 number of the others, their names, then for each key: raw, listed, digest
local no = stale()
if no then return no end
local others = tonumber(ARGV[6])
local active = redis.call('HGETALL', KEYS[9])
local want, all = {}, {ix}
for i = 1, others do
  want[ARGV[6 + i]] = true
  local k = 10 + (i - 1) * 5
  all[i + 1] = load(KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4], KEYS[k + 5])
end
for i = 1, #active, 2 do
  if active[i + 1] == '1' and active[i] ~= ARGV[5] then
    if not want[active[i]] then return {'ACCOUNTS'} end
  end
end

local function everywhere(raw)
  for _, a in ipairs(all) do
    if a.key and a.key ~= ARGV[2] then return false end
    if not a.epoch or a.gone or a.moved or lookup(a, raw) ~= 'c' then return false end
  end
  return true
end

local out = {'OK'}
for i = 7 + others, #ARGV, 3 do
  local raw = ARGV[i]
  if everywhere(raw) then
    for _, a in ipairs(all) do
      redis.call('HSET', a.states, raw, 'x ' .. ARGV[i + 1] .. ' ' .. ARGV[i + 2] .. '\n')
    end
    out[#out + 1] = raw
  end
end
return out
