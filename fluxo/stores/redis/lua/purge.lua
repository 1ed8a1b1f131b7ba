-- Store.purge for one shard. ARGV: namespace, before, limit. Oldest runs first; a run goes wholly, in one step, so
-- that a stale owner finds nothing to append to. Answers how many are gone.

local gone = redis.call('ZRANGEBYSCORE', tag .. 'ended:' .. ARGV[1], '-inf', '(' .. ARGV[2])
table.sort(gone)
local limit = math.min(#gone, tonumber(ARGV[3]))
for n = 1, limit do
  local us = gone[n]
  local run = run_of(us)
  unfile(us, run)
  local unread = redis.call('HLEN', inbox_key(us))
  if unread > 0 then redis.call('HINCRBY', tag .. 'counts:' .. run.namespace, 'unread', -unread) end
  redis.call('UNLINK', row_key(us), events_key(us), inbox_key(us), numbers_key(us))
  redis.call('HDEL', KEYS[1], run.namespace .. '\0' .. run.run_id)
  redis.call('ZREM', tag .. 'all:' .. run.namespace, us)
end
return limit
