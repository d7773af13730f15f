-- KEYS: at, entry, told, schedule, holder. ARGV: planner.
if redis.call('GET', KEYS[5]) == ARGV[1] then return redis.call('DEL', KEYS[5]) end
return 0
