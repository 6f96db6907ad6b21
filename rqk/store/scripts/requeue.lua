-- Take a job out of a registry and put it back into its queue, in one step.
-- ARGV: registry ('failed', 'finished', 'canceled', 'deferred', 'scheduled'), registry's queue, job id, '1' for the front, date.
-- Returns 1 done, 0 it is not in that registry, -1 its hash is gone (the entry is removed).
local registry, q, id, front, date = arg(), arg(), arg(), arg() == '1', arg()
if call('ZREM', K[registry] .. q, id) == 0 then return 0 end
if call('HEXISTS', K.job .. id, 'data') == 0 then return -1 end
local origin = call('HGET', K.job .. id, 'origin')
end_executions(id, q)
for _, key in ipairs({ K.job .. id, K.job .. id .. K.dependents_suffix, K.job .. ':' .. id .. K.dependencies_suffix }) do call('PERSIST', key) end  -- its ended life had a limit
call('HSET', K.job .. id, 'started_at', '', 'ended_at', '', 'worker_name', '')
call('HDEL', K.job .. id, 'exc_info', 'rqk_deliveries')
enter(id, (origin and origin ~= '') and origin or q, front, date)
return 1
