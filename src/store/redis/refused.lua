-- KEYS: log, state, refused, lives. ARGV: ttl, a record (or nothing, if it is too large), how many are kept, how many bytes of them.
-- A hash: records by their number, 'first' and 'last' of these, 'bytes', and how many were 'dropped'.

if redis.call('HGET', KEYS[4], 'gone') == '1' then return 0 end

local key, record = KEYS[3], ARGV[2]
local last = redis.call('HINCRBY', key, 'last', 1)
local first = tonumber(redis.call('HGET', key, 'first') or '1')
redis.call('HSET', key, last, record)
local bytes = redis.call('HINCRBY', key, 'bytes', #record)
local function drop(n)
  bytes = redis.call('HINCRBY', key, 'bytes', 0 - redis.call('HSTRLEN', key, n))
  redis.call('HDEL', key, n)
  redis.call('HINCRBY', key, 'dropped', 1)
end
if record == '' then
  redis.call('HINCRBY', key, 'last', -1)
  drop(last)
else
  while last - first >= tonumber(ARGV[3]) or bytes > tonumber(ARGV[4]) do
    drop(first)
    first = first + 1
  end
end
redis.call('HSET', key, 'first', first)
if ARGV[1] == '0' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, ARGV[1]) end
return 1
