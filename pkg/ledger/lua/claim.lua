--@ use clock account mark lease
-- KEYS: 7 doubles. ARGV: 3 lease token 4 raw 5 digest 6 window, ms 7 most records
-- A record: "state epoch until\n" and the key that owns the digest; the state is p until its message was accepted, then d.
local m, no = leased()
if no then return no end

local function read(s)
  local kind, epoch, till, raw = string.match(s, '^(%l) (%S+) (%d+)\n(.*)$')
  return {kind = kind, epoch = epoch, till = tonumber(till or 0), raw = raw}
end

local was = read(redis.call('HGET', KEYS[7], ARGV[5]) or '')
if was.kind and was.epoch == ix.epoch and was.till > now then
  local itself = was.raw == ARGV[4]
  if was.kind == 'd' then return {'OK', itself and 'ACCEPTED' or 'DOUBLE'} end
  local owner = parse(redis.call('HGET', KEYS[6], was.raw))
  if not itself and owner and owner.epoch == ix.epoch and owner.till > now then return {'OK', 'BUSY', owner.till - now} end
end

-- What is over goes when there are too many, and of the rest the older half.
if redis.call('HLEN', KEYS[7]) >= tonumber(ARGV[7]) then
  local all, gone, rest = redis.call('HGETALL', KEYS[7]), {}, {}
  for i = 1, #all, 2 do
    local r = read(all[i + 1])
    if r.till > now and r.epoch == ix.epoch then
      rest[#rest + 1] = {digest = all[i], till = r.till}
    else
      gone[#gone + 1] = all[i]
    end
  end
  if #rest >= ARGV[7] / 2 then
    table.sort(rest, function(a, b) return a.till < b.till end)
    for i = 1, #rest - ARGV[7] / 2 do gone[#gone + 1] = rest[i].digest end
  end
  for _, digest in ipairs(gone) do redis.call('HDEL', KEYS[7], digest) end
end
redis.call('HSET', KEYS[7], ARGV[5], string.format('p %s %.0f\n', ix.epoch, now + ARGV[6]) .. ARGV[4])
redis.call('PEXPIRE', KEYS[7], ARGV[6])
return {'OK', 'FIRST'}
