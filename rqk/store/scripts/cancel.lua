-- Cancel a job. ARGV: job id, date, '1' to release its dependents, '1' to leave its dependencies' sets.
-- Returns 1 done, 0 it is canceled already, -1 there is no such job.
local id, date, release_them, leave = arg(), arg(), arg() == '1', arg() == '1'
local job = call('HMGET', K.job .. id, 'status', 'origin', 'data', 'rate_limit_key')
if not job[3] then return -1 end
if job[1] == 'canceled' then return 0 end
local q = job[2] or ''
call('HSET', K.job .. id, 'status', 'canceled')
call('LREM', K.queue .. q, 0, id)
call('LREM', K.queue .. q .. K.intermediate_suffix, 0, id)
for _, registry in ipairs({ 'finished', 'failed', 'deferred', 'scheduled', 'ready' }) do call('ZREM', K[registry] .. q, id) end
call('ZADD', K.canceled .. q, NOW, id)
if leave then
  for _, parent in ipairs(call('SMEMBERS', K.job .. ':' .. id .. K.dependencies_suffix)) do call('SREM', K.job .. parent .. K.dependents_suffix, id) end
end
if release_them then release(id, 'finished', date) end
if job[4] then
  call('ZREM', K.rl .. job[4] .. ':rate_limited', id)
  if job[1] ~= 'started' then free_slot(id, job[4], date) end
end
return 1
