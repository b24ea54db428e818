-- Appends entries to one stream, or begins its life. A script runs alone, and its effects are replicated
-- together: seq, checksum, clock and entries never part. O(entries).
--
-- KEYS  meta (hash), stream (its ids are the seqs), ids (sorted set: entry id -> seq)
-- ARGV  1 epoch, 2 seq, 3 clock of a new life ('' = begin none), 4 name, 5 the author's clock, 6 now (ms),
--       7 entries to keep (0 = all), 8 and 9 lives of entries and of meta (ms; 0 = for ever),
--       then id, key, text of each entry
-- Returns nil where there is no life and none is to be begun, else
--       {epoch, {seq, header, text of an entry that was there already, else false}, …}
local FIRST = 10
local meta, stream, ids = KEYS[1], KEYS[2], KEYS[3]
local life = redis.call('HMGET', meta, 'epoch', 'seq', 'checksum', 'clock')
if not life[1] then
  if ARGV[1] == '' then return false end
  redis.call('DEL', stream, ids)  -- entries without a life prove nothing
  redis.call('HSET', meta, 'name', ARGV[4], 'epoch', ARGV[1], 'seq', ARGV[2], 'checksum', 0, 'clock', ARGV[3])
  life = {ARGV[1], ARGV[2], 0, ARGV[3]}
end
local seq, checksum = tonumber(life[2]), tonumber(life[3])
local clock = math.max(tonumber(life[4]), tonumber(ARGV[5]))
local reply, asked, new = {life[1]}, {}, {}
for at = FIRST, #ARGV, 3 do asked[#asked + 1] = ARGV[at] end
if #asked > 0 then
  local known = redis.call('ZMSCORE', ids, unpack(asked))
  for n, id in ipairs(asked) do
    local at = FIRST + 3 * (n - 1)
    local there = known[n] and redis.call('XRANGE', stream, known[n], known[n])[1]
    if there then  -- a repeat: of the client's, of the network's, or of a handler that runs again
      reply[#reply + 1] = {tonumber(known[n]), there[2][2], there[2][4]}
    else
      seq, clock = seq + 1, clock + 1
      checksum = (checksum * 31 + tonumber(string.sub(id, -8), 16) % 2147483647) % 2147483647
      local header = string.format('%s %.0f %.0f %s %s', id, checksum, clock, ARGV[6], ARGV[at + 1])
      redis.call('XADD', stream, string.format('%.0f-0', seq), 'entry', header, 'text', ARGV[at + 2])
      new[#new + 1] = string.format('%.0f', seq)
      new[#new + 1] = id
      reply[#reply + 1] = {seq, header, false}
    end
  end
end
if #new > 0 then
  redis.call('ZADD', ids, unpack(new))
  redis.call('HSET', meta, 'seq', string.format('%.0f', seq), 'checksum', string.format('%.0f', checksum),
    'clock', string.format('%.0f', clock))
  if ARGV[7] ~= '0' and redis.call('XTRIM', stream, 'MAXLEN', '~', ARGV[7]) > 0 then
    local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    redis.call('ZREMRANGEBYSCORE', ids, '-inf', '(' .. string.match(first[1], '%d+'))
  end
end
if ARGV[8] ~= '0' then
  redis.call('PEXPIRE', stream, ARGV[8])
  redis.call('PEXPIRE', ids, ARGV[8])
  redis.call('PEXPIRE', meta, ARGV[9])
end
return cmsgpack.pack(reply)
