-- KEYS: log, state, aside, past. ARGV: ttl, where the base stands, where it is to stand, its record, how many bytes of segments are
-- kept, how many a segment counts for at least, '1' if the base there is now is damaged, and of a segment: all about it, its record.
-- Puts the base forward and keeps the segment, if the base still stands there, the snapshot covers the new one, and the segment's last
-- entry is in the log.
-- Answers 'sealed', 'too long' if the segment alone has more bytes than are kept, or 'superseded'.

local state = redis.call('HMGET', KEYS[2], 'covers', 'base')
local covers, base = state[1], state[2] or state[1] or '0-0'
local ttl, from, to, record, damaged = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[7]
local bytes_max, bytes_min = tonumber(ARGV[5]), tonumber(ARGV[6])
local segment = ARGV[8] and 's' .. ARGV[8]
if base ~= from or not less(base, to) or not covers or less(covers, to) then return {'superseded'} end
-- A segment is of this log: not of what was lost since it was read.
if segment and #redis.call('XRANGE', KEYS[1], to, to) == 0 then return {'superseded'} end

if damaged == '1' then redis.call('HSET', KEYS[3], 'base', redis.call('HGET', KEYS[4], 'base') or '') end
redis.call('HSET', KEYS[4], 'base', record)
redis.call('HSET', KEYS[2], 'base', to, 'has-base', '1')

-- The last 16 digits of a name are the bytes.
local function counts(name)
  return math.max(tonumber(string.sub(name, -16), 16), bytes_min)
end

local is_too_long = segment and counts(segment) > bytes_max
if segment and not is_too_long then redis.call('HSET', KEYS[4], segment, ARGV[9]) end

-- The oldest segments go first.
local names, bytes = {}, 0
for _, name in ipairs(redis.call('HKEYS', KEYS[4])) do
  if string.sub(name, 1, 1) == 's' then
    names[#names + 1] = name
    bytes = bytes + counts(name)
  end
end
table.sort(names)
for _, name in ipairs(names) do
  if bytes <= bytes_max then break end
  bytes = bytes - counts(name)
  redis.call('HDEL', KEYS[4], name)
end
renew(ttl, KEYS[4])
if ttl == '0' then redis.call('PERSIST', KEYS[4]) end
return {is_too_long and 'too long' or 'sealed'}
