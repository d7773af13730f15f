--@ use clock account mark
-- KEYS: 12 lock of the account alone. ARGV: 3 account
local shut = closed()
if shut then return shut end
local job, watcher, since = '', '', 0
for _, k in ipairs({KEYS[7], KEYS[12]}) do
  local l = redis.call('HMGET', k, 'account', 'job', 'until', 'kind', 'owner', 'since')
  if l[1] == ARGV[3] and tonumber(l[3] or 0) > now then
    job = l[2]
    if l[4] == 'push' then watcher, since = l[5], tonumber(l[6]) end
  end
end
local n = {p = 0, d = 0, x = 0, g = 0}
local s = redis.call('HGETALL', KEYS[5])
for i = 2, #s, 2 do
  local kind, till = string.match(s[i], '^(%l) (%d+)')
  if kind and (kind ~= 'd' or tonumber(till) > now) then n[kind] = n[kind] + 1 end
end
return {'OK', ix.epoch or '', job, ix.entries, ix.skipped, redis.call('HGETALL', KEYS[3]),
  redis.call('HGETALL', KEYS[4]), redis.call('HLEN', KEYS[6]), n.p, n.d, n.x, watcher, since}
