-- KEYS: log, state, aside, refused, past. ARGV: for how long the end of the log stays known.

redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', 0)
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return 1
