-- KEYS: log, state, lives, those in the trash: log, state, aside, refused, past; and aside, refused, past of the name.
-- ARGV: the version that the change was made of, the record of the lives, the current life, whether it is gone ('1' or '0'), what
-- moves ('aside', 'back' or nothing), for how long the end of the log stays known.
-- Answers 1, or 0 if there is another version.

if (redis.call('HGET', KEYS[3], 'version') or '0') ~= ARGV[1] then return 0 end

local function move(from, to)
  if redis.call('EXISTS', from) == 1 then
    redis.call('RENAME', from, to)
    redis.call('PERSIST', to)
  end
end

if ARGV[5] == 'aside' then
  local last = redis.call('HGET', KEYS[2], 'end')
  move(KEYS[1], KEYS[4])
  move(KEYS[2], KEYS[5])
  move(KEYS[9], KEYS[6])
  move(KEYS[10], KEYS[7])
  move(KEYS[11], KEYS[8])
  if last then
    -- Positions go on where they ended, whatever begins here.
    redis.call('XADD', KEYS[1], last, 'e', '')
    redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', 0)
    redis.call('PEXPIRE', KEYS[1], ARGV[6])
  end
elseif ARGV[5] == 'back' then
  move(KEYS[4], KEYS[1])
  move(KEYS[5], KEYS[2])
  move(KEYS[6], KEYS[9])
  move(KEYS[7], KEYS[10])
  move(KEYS[8], KEYS[11])
  redis.call('PERSIST', KEYS[1])
  -- It is listed anew with the next append, should it not be listed by then.
  redis.call('HDEL', KEYS[2], 'listed')
end
redis.call('HSET', KEYS[3], 'version', tonumber(ARGV[1]) + 1, 'record', ARGV[2], 'current', ARGV[3], 'gone', ARGV[4])
return 1
