-- The same as add.lua for many jobs of one queue.
-- ARGV: key of the set of queues, key of the list, then for each job: key, id, RPUSH or LPUSH, how many fields and values follow, these in turn.
-- What exists is left alone, as in add.lua.
local argv = ARGV
local ids, firsts, at = { RPUSH = {}, LPUSH = {} }, {}, 3
while argv[at] do
  if call('EXISTS', argv[at]) == 0 then
    local pushed = ids[argv[at + 2]]
    pushed[#pushed + 1] = argv[at + 1]
    firsts[#firsts + 1] = at
  end
  at = at + 4 + argv[at + 3]
end
for push, pushed in pairs(ids) do
  if #pushed > 0 then call(push, argv[2], unpack(pushed)) end  -- first: if the list's key is of another type, nothing is written
end
for _, first in ipairs(firsts) do
  call('HSET', argv[first], unpack(argv, first + 4, first + 3 + argv[first + 3]))
end
if #firsts > 0 then call('SADD', argv[1], argv[2]) end
