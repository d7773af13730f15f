-- KEYS: at, entry. ARGV: uid, lease score, next (ms, 0 for never), repeated. What is read or written is so together.
local uids, add, drop = {}, {}, {}
for i = 1, #ARGV, 3 do uids[#uids + 1] = ARGV[i] end
if #uids == 0 then return 0 end
for i, at in ipairs(redis.call('ZMSCORE', KEYS[1], unpack(uids))) do
  if at and tonumber(at) == tonumber(ARGV[3 * i - 1]) then
    if ARGV[3 * i] == '0' then
      drop[#drop + 1] = uids[i]
    else
      add[#add + 1] = ARGV[3 * i]
      add[#add + 1] = uids[i]
    end
  end
end
if #add > 0 then redis.call('ZADD', KEYS[1], unpack(add)) end
if #drop > 0 then redis.call('ZREM', KEYS[1], unpack(drop)) end
return #add / 2 + #drop
