-- KEYS: at, entry. ARGV: uid, revision, due by the old plan, by the new one (ms, 0 for never), repeated. Answers how many times changed.
local done = 0
for i = 1, #ARGV, 4 do
  local uid, old, new = ARGV[i], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  local rev, active = string.match(redis.call('HGET', KEYS[2], uid) or '', '^(%d+)|(%d)|')
  if rev == ARGV[i + 1] and active == '1' then -- else it was edited meanwhile, and planned by that
    local at = tonumber(redis.call('ZSCORE', KEYS[1], uid) or 0)
    if new == 0 and at == old then
      done = done + redis.call('ZREM', KEYS[1], uid)
    elseif new ~= 0 and (at == old or at == 0 or at > new) then
      redis.call('ZADD', KEYS[1], ARGV[i + 3], uid)
      done = done + 1
    end
  end
end
return done
