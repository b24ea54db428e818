-- The head of a stream, and its entries from a seq on, as one moment sees them.
--
-- KEYS  meta, stream
-- ARGV  1 seq, 2 how many entries (0 = only the head)
-- Returns nil where the stream has no life, else
--       {epoch, seq, checksum, clock, seq and header of the first kept entry (or false), seq, header, text, …}
local life = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'checksum', 'clock')
if not life[1] then return false end
local reply = {life[1], tonumber(life[2]), tonumber(life[3]), tonumber(life[4]), false, false}
local function seq_of(entry) return tonumber(string.match(entry[1], '%d+')) end
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if first then reply[5], reply[6] = seq_of(first), first[2][2] end
if ARGV[2] ~= '0' then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], ARGV[1], '+', 'COUNT', ARGV[2])) do
    local at = #reply
    reply[at + 1], reply[at + 2], reply[at + 3] = seq_of(entry), entry[2][2], entry[2][4]
  end
end
return cmsgpack.pack(reply)
