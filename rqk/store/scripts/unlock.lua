-- Give scheduler locks back. ARGV: scheduler's name, count + queue names. Only own locks are deleted. Returns how many.
local me, freed = arg(), 0
for _, q in ipairs(list_arg()) do
  if call('GET', K.scheduler_lock .. q) == me then freed = freed + call('DEL', K.scheduler_lock .. q) end
end
return freed
