-- Remove up to `most` waiting jobs of a queue with all that belongs to them. ARGV: queue, most. Returns how many ids were in the list.
local q, most = arg(), number_arg()
local count = 0
while count < most do
  local id = call('LPOP', K.queue .. q)
  if not id then break end
  local group = call('HGET', K.job .. id, 'group_id')
  if group and group ~= '' then call('SREM', K.group .. group, id) end
  delete_job(id)
  count = count + 1
end
return count
