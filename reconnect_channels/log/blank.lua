-- Blanks what an author wrote on a stream. Entries of Redis can't be changed: they are copied, some a call, and
-- the copy takes the stream's place in the call that finds no more. Whoever appends meanwhile isn't held up.
--
-- KEYS  meta, stream, copy
-- ARGV  1 who does it, 2 author, 3 the text instead, 4 entries to copy, 5 life of an unfinished copy (ms)
-- Returns -1 while somebody else does it, 0 when it is done, else 1: call it again
if not redis.call('HGET', KEYS[1], 'epoch') then return 0 end
local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
if redis.call('HGET', KEYS[1], 'erasing') ~= ARGV[1] then
  if last then return -1 end
  redis.call('HSET', KEYS[1], 'erasing', ARGV[1])
end
local entries = redis.call('XRANGE', KEYS[2], last and '(' .. last[1] or '-', '+', 'COUNT', ARGV[4])
for _, entry in ipairs(entries) do
  local header, text = entry[2][2], entry[2][4]
  local signed, author = string.match(header, '^(%S+ %S+ %S+ %S+ %S*) (%S+)$')
  if author == ARGV[2] then header, text = signed, ARGV[3] end
  redis.call('XADD', KEYS[3], entry[1], 'entry', header, 'text', text)
end
if #entries == tonumber(ARGV[4]) then
  redis.call('PEXPIRE', KEYS[3], ARGV[5])
  return 1
end
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if first then
  local life = redis.call('PTTL', KEYS[2])
  redis.call('XTRIM', KEYS[3], 'MINID', '=', first[1])
  redis.call('RENAME', KEYS[3], KEYS[2])
  if life > 0 then redis.call('PEXPIRE', KEYS[2], life) else redis.call('PERSIST', KEYS[2]) end
else
  redis.call('DEL', KEYS[3])
end
redis.call('HDEL', KEYS[1], 'erasing')
return 0
