-- Move a started job to where its attempt ended, and claim the next one in the same step.
-- ARGV: worker ('' for a sweep), job id, execution id, queue, the status the job must have ('started'; 'queued' for an attempt that
--   was prepared and never started), '1' if only an expired lease may be taken, date, new status,
--   place ('' none, 'back', 'front', 'due'), due epoch, registry ('', 'finished', 'failed'), score ('+n' = now + n, else as it is),
--   job ttl ('' leave, '0' delete, n seconds), result ttl ('' leave, '-1' persist, n seconds),
--   outcome for dependents ('', 'finished', 'failed'), '1' if a rate-limit slot is given back,
--   what the worker has done since it last told, this attempt included: successes, failures, working seconds, '1' to write that down
--   even if there is a next job (else only when there is none), job id, execution id and queue of a job claimed ahead that begins now ('' for none), count + field/value pairs for the job, count + field/value pairs of the result entry,
--   '1' + arguments of claim() to claim, or ''.
-- Returns {code, claim's reply or {0}, 1 if the counts were written}: 1 written, 0 lease lost, 2 job deleted meanwhile, 3 enqueued anew meanwhile, 4 canceled meanwhile and left so.
local w, id, ex, q, expected, expired_only, date, status, place, due, registry, score, job_ttl, result_ttl, outcome, slot,
  successes, failures, worked, tell, next_id, next_ex, next_q, changes = args(24)
tell, changes = tell == '1', tonumber(changes)
local first_change = cursor + 1
cursor = cursor + changes
local result = number_arg()
local first_result = cursor + 1
cursor = cursor + result
local go_on = arg() == '1'

local function settle()
  local job, lease = K.job .. id, id .. ':' .. ex
  if expired_only == '1' then
    local ends = call('ZSCORE', K.wip .. q, lease)
    if not ends or tonumber(ends) > NOW then return 0 end
  end
  local runner = w
  if runner == '' then runner = call('HGET', K.execution .. lease, 'worker_name') or '' end
  if not end_execution(id, ex, q, runner) then return call('EXISTS', job) == 1 and 0 or 2 end
  local was = call('HMGET', job, 'status', 'created_at', 'rate_limit_key', 'ttl', 'dependency_ids', 'dependency_id')
  if not was[2] then return 2 end
  if was[1] ~= expected then
    if was[1] ~= 'canceled' then
      -- Whoever saves a whole job writes the status that he knew, so a status alone says little: only a job that is where its status says has a new life.
      local home, status_now = call('HGET', job, 'origin'), was[1] or ''
      if not home or home == '' then home = q end
      if call('LPOS', K.queue .. home, id) or (w ~= '' and call('LPOS', K.queue .. home .. K.intermediate_suffix, id)) then return 3 end
      if status_now == 'started' and is_running(id, home) then return 3 end
      local registry_now = ({ scheduled = 'scheduled', deferred = 'deferred', ready_to_enqueue = 'ready', finished = 'finished', failed = 'failed', stopped = 'failed' })[status_now]
      if registry_now and call('ZSCORE', K[registry_now] .. home, id) then return 3 end
      if status_now == 'rate_limited' and call('ZSCORE', K.rl .. (was[3] or '') .. ':rate_limited', id) then return 3 end
    elseif place ~= '' then
      free_slot(id, was[3], date)
      return 4
    else
      call('ZREM', K.canceled .. q, id)
    end
  end
  if expected == 'queued' and call('LPOS', K.queue .. q, id) then return 3 end
  if w == '' then call('LREM', K.queue .. q .. K.intermediate_suffix, 0, id) end  -- our own claims leave nothing there
  call('HSET', job, 'status', status, unpack(ARGV, first_change, first_change + changes - 1))
  if result > 0 then
    call('XADD', K.results .. id, 'MAXLEN', '~', '10', '*', unpack(ARGV, first_result, first_result + result - 1))
    if result_ttl == '-1' then call('PERSIST', K.results .. id)
    elseif result_ttl ~= '' then call('EXPIRE', K.results .. id, result_ttl) end
  end
  if registry ~= '' then
    if score:sub(1, 1) == '+' and score ~= '+inf' then score = NOW + tonumber(score:sub(2)) end
    call('ZADD', K[registry] .. q, score, id)
  end
  local has_dependents = outcome == '' or release(id, outcome, date)
  if slot == '1' then free_slot(id, was[3], date) end
  if place == 'due' then
    call('SADD', K.queues, K.queue .. q)
    call('ZADD', K.scheduled .. q, due, id)
  elseif place ~= '' then
    call('SADD', K.queues, K.queue .. q)
    push(id, q, place == 'front')
  end
  if place ~= '' and (tonumber(was[4] or '') or 0) > 0 and (expected == 'started' or was[1] == 'started') then expire_job(id, was[4]) end  -- a start took its end away
  if job_ttl == '0' then
    local group = call('HGET', job, 'group_id')
    if group and group ~= '' then call('SREM', K.group .. group, id) end
    delete_job(id)
  elseif job_ttl ~= '' then
    call('EXPIRE', job, job_ttl)
    if has_dependents then call('EXPIRE', job .. K.dependents_suffix, job_ttl) end
    if was[5] or was[6] then call('EXPIRE', K.job .. ':' .. id .. K.dependencies_suffix, job_ttl) end
  end
  return 1
end

local code = settle()
local begun = next_id ~= ''
if begun and call('ZSCORE', K.wip .. next_q, next_id .. ':' .. next_ex) then
  local is = call('HGET', K.job .. next_id, 'status')
  if is == 'queued' then begin(next_id, w, date, true)
  elseif is == 'canceled' then end_execution(next_id, next_ex, next_q, w) end  -- in time: nothing it does counts
end
local reply = go_on and claim() or { 0 }
local has_job = begun or reply[1] == 1
if w ~= '' and (tell or not has_job) and call('HEXISTS', K.worker .. w, 'birth') == 1 then
  if not has_job then
    call('HDEL', K.worker .. w, 'current_job')
    if not go_on then call('HSET', K.worker .. w, 'state', 'idle') end
  end
  tally(w, successes, failures, worked)
  return { code, reply, 1 }
end
return { code, reply, 0 }
