-- What the other scripts share. KEYS: log, state. A position is an id `ms-seq` of the log; the upper bits of seq are its era.

local COUNTED = 1048576 -- 2^20 entries in one millisecond; the era is above

local function parts(position)
  local ms, seq = string.match(position, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function less(a, b)
  local a_ms, a_seq = parts(a)
  local b_ms, b_seq = parts(b)
  return a_ms < b_ms or (a_ms == b_ms and a_seq < b_seq)
end

local function is_of(position, era)
  local _, seq = parts(position)
  return era and math.floor(seq / COUNTED) == tonumber(era)
end

-- Whether everything up to a position is still there. A position of another era tells of what was lost, or of a dashboard's
-- earlier life. Within the era, the entry is in the log or the snapshot covers it.
local function holds(position, era, last, covers)
  if position == '0-0' then return true end
  if not is_of(position, era) then return false end
  if covers and not less(covers, position) then return true end
  if position == last then return redis.call('EXISTS', KEYS[1]) == 1 end
  return #redis.call('XRANGE', KEYS[1], position, position) > 0
end

-- Once it is known that something of this era is gone, none of its positions proves anything.
local function lost(position, era, new_era, last)
  if is_of(position, era) then redis.call('HSET', KEYS[2], 'era', new_era) end
  return {'lost', last or '0-0'}
end

-- Whether a life of the name has ended, or has not begun.
local function is_over(lives, life)
  local there = redis.call('HMGET', lives, 'current', 'gone')
  return (there[1] or '0') ~= life or there[2] == '1'
end

-- Never fails what it comes with: a server that refuses writes may still be read.
local function renew(ttl, past)
  if ttl ~= '0' then
    redis.pcall('PEXPIRE', KEYS[1], ttl)
    redis.pcall('PEXPIRE', KEYS[2], ttl)
    redis.pcall('PEXPIRE', past, ttl)
  end
end
