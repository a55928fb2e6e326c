-- KEYS: log, state, aside, past. ARGV: ttl, where the base stands, where it is to stand, its record, how many bytes of segments are
-- kept, '1' if the base there is now is damaged, and of a segment: all about it, its bytes, its record.
-- Puts the base forward and keeps the segment, if the base still stands there, the snapshot covers the new one, and the segment's last
-- entry is in the log.
-- Answers 'sealed' or 'superseded'.

local state = redis.call('HMGET', KEYS[2], 'covers', 'base')
local covers, base = state[1], state[2] or state[1] or '0-0'
local ttl, from, to, record, bytes_max, damaged = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
if base ~= from or not less(base, to) or not covers or less(covers, to) then return {'superseded'} end
-- A segment is of this log: not of what was lost since it was read.
if ARGV[7] and #redis.call('XRANGE', KEYS[1], to, to) == 0 then return {'superseded'} end

if damaged == '1' then redis.call('HSET', KEYS[3], 'base', redis.call('HGET', KEYS[4], 'base') or '') end
redis.call('HSET', KEYS[4], 'base', record)
redis.call('HSET', KEYS[2], 'base', to)
if ARGV[7] and tonumber(ARGV[8]) <= bytes_max then redis.call('HSET', KEYS[4], 's' .. ARGV[7], ARGV[9]) end

-- What there is too much of goes from the front. The last 16 digits of a name are the bytes.
local names, bytes = {}, 0
for _, name in ipairs(redis.call('HKEYS', KEYS[4])) do
  if string.sub(name, 1, 1) == 's' then
    names[#names + 1] = name
    bytes = bytes + tonumber(string.sub(name, -16), 16)
  end
end
table.sort(names)
for _, name in ipairs(names) do
  if bytes <= bytes_max then break end
  bytes = bytes - tonumber(string.sub(name, -16), 16)
  redis.call('HDEL', KEYS[4], name)
end
renew(ttl, KEYS[4])
if ttl == '0' then redis.call('PERSIST', KEYS[4]) end
return {'sealed'}
