-- A worker's sign of life; renews the lease of the attempt it runs.
-- ARGV: worker, date, epoch, worker ttl, state, lease seconds, successes, failures, working seconds not told yet, then job id, execution id, queue, working seconds ('' for all four when idle).
-- Returns {registered 0/1, lease 1 held / 0 lost / -1 none asked, retiring 0/1, suspended 0/1, job exists 0/1}.
local w, date, epoch, ttl, state, lease = arg(), arg(), arg(), arg(), arg(), number_arg()
local successes, failures, worked_before = arg(), arg(), arg()
local id, ex, q, worked = arg(), arg(), arg(), arg()
local known = call('HEXISTS', K.worker .. w, 'birth')
local held, exists = -1, 1
if known == 1 then
  call('EXPIRE', K.worker .. w, ttl)  -- first: it needs no memory, and once something is written a full server lets the rest pass
  call('HSET', K.worker .. w, 'last_heartbeat', date, 'state', state)
  tally(w, successes, failures, worked_before)
end
if id ~= '' then
  local mark = id .. ':' .. ex
  exists = call('EXISTS', K.job .. id)
  if call('ZSCORE', K.wip .. q, mark) then
    held = 1
    call('ZADD', K.wip .. q, 'XX', SOON + lease, mark)
    if call('EXISTS', K.execution .. mark) == 1 then call('HSET', K.execution .. mark, 'last_heartbeat', epoch) end
    call('EXPIRE', K.execution .. mark, lease + 60)
    call('ZADD', K.executions .. id, 'XX', NOW + lease + 60, ex)
    call('EXPIRE', K.executions .. id, lease + 120)
    call('EXPIRE', K.worker .. w .. K.executions_suffix, lease + 60)
    if exists == 1 then call('HSET', K.job .. id, 'last_heartbeat', date) end
    if known == 1 then call('HSET', K.worker .. w, 'current_job_working_time', worked) end
  else
    held = 0
  end
end
local retiring = call('HEXISTS', K.worker .. w, 'rqk_retiring')
return { known, held, retiring, call('EXISTS', K.suspended), exists }
