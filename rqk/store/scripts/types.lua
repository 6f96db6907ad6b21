-- Which of some keys hold another type than they should. Writes nothing.
-- ARGV: key and type in turn. Returns key and the type that it has in turn, for those that exist with another one.
local found = {}
for n = 1, #ARGV, 2 do
  local is = call('TYPE', ARGV[n])['ok']
  if is ~= 'none' and is ~= ARGV[n + 1] then
    found[#found + 1] = ARGV[n]
    found[#found + 1] = is
  end
end
return found
