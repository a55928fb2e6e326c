-- KEYS: the record, a hash: v its version, r the record, p the version that it replaced. After a removal only v is left, for a while.
-- ARGV: what is expected (a version, 0 for none, nothing for whatever), the record (nothing to remove it), for how long a removed one's
-- version stays known.

local kept = redis.call('HMGET', KEYS[1], 'v', 'r', 'p')
local version = tonumber(kept[1] or '0')
local actual = kept[2] and version or 0
local expected, record = ARGV[1], ARGV[2]
if record == '' and actual == 0 then return {'ok', version} end
if expected ~= '' and actual ~= tonumber(expected) then
  -- The same command once more, because its answer was lost.
  if record ~= '' and kept[2] == record and kept[3] == expected then return {'ok', version} end
  return {'conflict', actual}
end
local time = redis.call('TIME')
-- Microseconds: beyond every version of a record whose removal is forgotten.
local next = math.max(version + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
local text = string.format('%.0f', next)
if record == '' then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'v', text)
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
else
  redis.call('HSET', KEYS[1], 'v', text, 'r', record, 'p', expected)
  redis.call('PERSIST', KEYS[1])
end
return {'ok', text}
