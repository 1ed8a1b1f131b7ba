-- The register of workers, kept in the first shard; each shard keeps the ids. ARGV: what, worker id, then
-- register: record or '' (another shard), channel, teller; beat: nothing; unregister: channel, teller.
-- Answers 1 if the worker has a row (beat), else 0.

local what, id = ARGV[1], ARGV[2]
if what == 'register' then
  redis.call('SADD', tag .. 'workers', id)
  if ARGV[3] ~= '' then
    redis.call('HSET', tag .. 'records', id, ARGV[3])
    redis.call('HSET', tag .. 'beats', id, 0)
  end
  tell(ARGV[4], ARGV[5])
  return 1
end
if what == 'beat' then
  if redis.call('SISMEMBER', tag .. 'workers', id) == 0 then return 0 end
  redis.call('HINCRBY', tag .. 'beats', id, 1)
  return 1
end
redis.call('SREM', tag .. 'workers', id)
redis.call('HDEL', tag .. 'records', id)
redis.call('HDEL', tag .. 'beats', id)
tell(ARGV[3], ARGV[4])
return 0
