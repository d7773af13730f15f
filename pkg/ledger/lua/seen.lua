--@ use clock account uidset index mark guard
-- ARGV: 3 token 4 epoch 5 "1" for the first batch of a listing 6 grace, ms 7 listings 8 life of a ghost, ms,
-- then pairs of what happened and a raw key:
--   F a deleting key is not listed any more        N a deleting key is listed with another size
--   V a collected key is missing                   B a missing key is back
--   R a missing key may be ripe                    G a ghost may have lapsed
--   U a collected unique-id was used again         D a deferred key whose time has come is missing
local no = stale()
if no then return no end
if ARGV[5] == '1' then redis.call('HINCRBY', KEYS[1], 'listing', 1) end
local listing = tonumber(redis.call('HGET', KEYS[1], 'listing') or 0)

-- leave takes a key out of the index; its ghost answers copies that are still under way.
local function leave(raw)
  local _, _, v = lookup(ix, raw)
  drop(ix, raw)
  redis.call('HDEL', KEYS[8], raw)
  if #raw == 7 then
    local folded = v and struct.unpack('>I2', v) or 0
    redis.call('HSET', KEYS[5], raw, string.format('g %.0f %.0f\n', now + ARGV[8], folded))
  else
    redis.call('HDEL', KEYS[5], raw)
  end
end

local function ripe(raw)
  local v = redis.call('HGET', KEYS[8], raw)
  if not v then return false end
  local first, since = struct.unpack('>I4I4', v)
  return listing - first >= ARGV[7] - 1 and now - since * 1000 >= tonumber(ARGV[6])
end

local event = {
  F = function(raw, kind) if kind == 'x' then leave(raw) end end,
  N = function(raw, kind) if kind == 'x' then leave(raw) end end,
  V = function(raw, kind)
    if kind ~= 'x' and lookup(ix, raw) == 'c' then
      redis.call('HSETNX', KEYS[8], raw, struct.pack('>I4I4', listing, math.floor(now / 1000)))
    end
  end,
  B = function(raw) redis.call('HDEL', KEYS[8], raw) end,
  R = function(raw, kind)
    if kind ~= 'x' and lookup(ix, raw) == 'c' and ripe(raw) then leave(raw) end
  end,
  U = function(raw, kind) if kind ~= 'x' and lookup(ix, raw) == 'c' then leave(raw) end end,
  D = function(raw, kind, holds) if kind == 'd' and not holds then redis.call('HDEL', KEYS[5], raw) end end,
  G = function(raw, kind, holds) if kind == 'g' and not holds then redis.call('HDEL', KEYS[5], raw) end end,
}

for i = 9, #ARGV, 2 do
  local kind, holds = state(ARGV[i + 1])
  event[ARGV[i]](ARGV[i + 1], kind, holds)
end
return {'OK'}
