-- KEYS: log, state. ARGV: now.
-- Notes when the dashboard was listed, unless it is gone again.

if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], 'listed', ARGV[1]) end
return 1
