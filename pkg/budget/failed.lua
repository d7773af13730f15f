-- KEYS: hash. ARGV: failures that shut, first pause (ms), longest pause (ms). From so many failures in a row on nobody goes there,
-- for twice as long each time.
local fails = redis.call('HINCRBY', KEYS[1], 'fails', 1)
redis.call('PEXPIRE', KEYS[1], 3600000)
local over = fails - tonumber(ARGV[1])
if over < 0 then return 0 end
local clock = redis.call('TIME')
local pause = math.min(tonumber(ARGV[3]), tonumber(ARGV[2]) * 2 ^ math.min(over, 20))
redis.call('HSET', KEYS[1], 'shut', clock[1] * 1000 + math.floor(clock[2] / 1000) + pause)
return pause
