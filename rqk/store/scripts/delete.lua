-- Delete jobs from every place. ARGV: date, '1' to take ids out of their lists, '1' to delete dependents too, count + job ids. Returns how many existed.
local date, from_list, with_dependents = arg(), arg() == '1', arg() == '1'
local todo, count = list_arg(), 0
local done = {}
while #todo > 0 do
  local id = table.remove(todo)
  if not done[id] then
    done[id] = true
    local job = call('HMGET', K.job .. id, 'origin', 'group_id', 'rate_limit_key')
    local q = job[1]
    if with_dependents then
      for _, dependent in ipairs(call('SMEMBERS', K.job .. id .. K.dependents_suffix)) do todo[#todo + 1] = dependent end
    end
    if q then
      count = count + 1
      if from_list then
        call('LREM', K.queue .. q, 0, id)
        call('LREM', K.queue .. q .. K.intermediate_suffix, 0, id)
      end
      for _, registry in ipairs({ 'finished', 'failed', 'deferred', 'scheduled', 'canceled', 'ready' }) do call('ZREM', K[registry] .. q, id) end
      end_executions(id, q)
      if job[3] then
        call('ZREM', K.rl .. job[3] .. ':rate_limited', id)
        free_slot(id, job[3], date)
      end
    end
    for _, parent in ipairs(call('SMEMBERS', K.job .. ':' .. id .. K.dependencies_suffix)) do call('SREM', K.job .. parent .. K.dependents_suffix, id) end
    if job[2] and job[2] ~= '' then call('SREM', K.group .. job[2], id) end
    call('DEL', K.executions .. id)
    delete_job(id)
  end
end
return count
