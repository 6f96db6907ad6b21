-- Which queues are not at rest, writing nothing. ARGV: a JSON list of queue names.
-- Returns the time (seconds, microseconds), the numbers from 1 of the queues in which something waits, runs or is due, or whose
-- keys have another type, and of the others with scheduled jobs: number, earliest due epoch, number, ...
local names = cjson.decode(ARGV[1])
local places = {}
for _, q in ipairs(names) do
  places[#places + 1] = K.queue .. q
  places[#places + 1] = K.queue .. q .. K.intermediate_suffix
  places[#places + 1] = K.wip .. q
  places[#places + 1] = K.ready .. q
  places[#places + 1] = K.scheduled .. q
end
local stirred, dues = {}, {}
if call('EXISTS', unpack(places)) > 0 then           -- empty ones do not exist: mostly that is all there is to ask
  for i, q in ipairs(names) do
    local first = redis.pcall('ZRANGE', K.scheduled .. q, 0, 0, 'WITHSCORES')
    if first.err or (first[2] and tonumber(first[2]) <= NOW)
      or call('EXISTS', K.queue .. q, K.queue .. q .. K.intermediate_suffix, K.wip .. q, K.ready .. q) > 0 then
      stirred[#stirred + 1] = i
    elseif first[2] then
      dues[#dues + 1] = i
      dues[#dues + 1] = first[2]
    end
  end
end
return { clock[1], clock[2], stirred, dues }
