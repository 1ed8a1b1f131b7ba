-- Store.release for one shard. ARGV: releases (MessagePack), now or '', channel, teller.
-- A release: {us, owner, nonce, status, wake or '', consumed or false}. Answers how many were released.

local now, released = now_us(ARGV[2]), 0
for _, release in ipairs(cmsgpack.unpack(ARGV[1])) do
  local us, owner, nonce, status, wake, consumed = unpack(release)
  local run = run_of(us)
  if run and run.owner == owner and run.nonce == nonce and OPEN[run.status] then
    change(us, run, {owner = '', status = status, wake_at_us = wake, consumed = consumed or run.consumed,
      updated_at_us = text(now)})
    released = released + 1
  end
end
if released > 0 then tell(ARGV[3], ARGV[4]) end
return released
