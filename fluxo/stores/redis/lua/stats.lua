-- Store.stats for one shard, a part at a time. ARGV: namespace, above (us), most to look at.
-- Answers {counts, events among those looked at, last us looked at or '' when nothing is left}.

local most, events, last = tonumber(ARGV[3]), 0, ''
for n, us in ipairs(redis.call('ZRANGEBYSCORE', tag .. 'all:' .. ARGV[1], '(' .. ARGV[2], '+inf', 'LIMIT', 0, most)) do
  events = events + redis.call('LLEN', events_key(us))
  if n == most then last = us end
end
return {redis.call('HGETALL', tag .. 'counts:' .. ARGV[1]), events, last}
