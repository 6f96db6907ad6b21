-- Counts of queues, writing nothing. ARGV: count + queue names.
-- Returns for each queue: queued, intermediate, started, finished, failed, deferred, scheduled, canceled, ready, due now, earliest due epoch ('' none), enqueued_at of the head ('' none);
-- or the text of the error if a key of it has another type.
local function look(q)
  local head = call('LINDEX', K.queue .. q, 0)
  local since = head and call('HGET', K.job .. head, 'enqueued_at') or ''
  local first = call('ZRANGE', K.scheduled .. q, 0, 0, 'WITHSCORES')
  return {
    call('LLEN', K.queue .. q), call('LLEN', K.queue .. q .. K.intermediate_suffix), call('ZCARD', K.wip .. q),
    call('ZCARD', K.finished .. q), call('ZCARD', K.failed .. q), call('ZCARD', K.deferred .. q),
    call('ZCARD', K.scheduled .. q), call('ZCARD', K.canceled .. q), call('ZCARD', K.ready .. q),
    first[2] and call('ZCOUNT', K.scheduled .. q, '-inf', NOW) or 0, first[2] or '', since or '',
  }
end
local replies = { clock[1], clock[2] }
for _, q in ipairs(list_arg()) do
  local ok, reply = pcall(look, q)
  replies[#replies + 1] = ok and reply or tostring(type(reply) == 'table' and reply.err or reply)
end
return replies
