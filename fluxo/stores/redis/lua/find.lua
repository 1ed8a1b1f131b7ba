-- Store.find for one shard. ARGV: namespace, below (us) or '', limit, most to look at, filters (MessagePack:
-- {status = {name = true...} or nothing, workflow, queue, since}). Newest first.
-- Answers {rows, last us looked at or ''}: '' when nothing is left.

local filters = cmsgpack.unpack(ARGV[5])
local limit, rows, last = tonumber(ARGV[3]), {}, ''
local below = ARGV[2] == '' and '+inf' or '(' .. ARGV[2]
local candidates = redis.call('ZREVRANGEBYSCORE', tag .. 'all:' .. ARGV[1], below, '-inf', 'LIMIT', 0, tonumber(ARGV[4]))
for n, us in ipairs(candidates) do
  local run = run_of(us)
  if (not filters.status or filters.status[run.status])
    and (not filters.workflow or filters.workflow == run.workflow)
    and (not filters.queue or filters.queue == run.queue)
    and (not filters.since or tonumber(run.created_at_us) >= tonumber(filters.since)) then
    rows[#rows + 1] = {us, values_of(us)}
  end
  if #rows >= limit then return {rows, us} end
  if n == tonumber(ARGV[4]) then last = us end
end
return {rows, last}
