-- KEYS: at, entry. ARGV: uid, lease score, next (ms), repeated.
local done = 0
for i = 1, #ARGV, 3 do
  local at = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if at and tonumber(at) == tonumber(ARGV[i + 1]) then
    redis.call('ZADD', KEYS[1], ARGV[i + 2], ARGV[i])
    done = done + 1
  end
end
return done
