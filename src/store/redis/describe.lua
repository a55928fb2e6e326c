-- KEYS: past. ARGV: the id, the description that is there, the one that replaces it.
-- Answers 1, or 0 if there is another one or none.

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
