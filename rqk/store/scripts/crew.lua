-- Records of workers, writing nothing. ARGV: count + worker names.
-- Returns for each its hash (field, value, ...; empty if there is none, or the key holds something else) and how many leases it holds.
local function look(w)
  return { call('HGETALL', K.worker .. w), call('SCARD', K.worker .. w .. K.executions_suffix) }
end
local replies = {}
for i, w in ipairs(list_arg()) do
  local ok, reply = pcall(look, w)
  if not ok then
    if not tostring(type(reply) == 'table' and reply.err or reply):find('WRONGTYPE', 1, true) then error(reply, 0) end
    reply = { {}, 0 }
  end
  replies[i] = reply
end
return replies
