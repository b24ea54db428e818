"""The log in Redis or Valkey, 6.2 or newer: fast streams that may lose their newest entries (design 7.5).

A stream is three keys of one slot: `meta` (epoch, seq, checksum, clock), the entries in a Redis stream whose
ids are the seqs, and the ids of the entries. One script appends, and finds repeats by their ids, so that
whoever doesn't know whether an append arrived sends it again.

Redis may forget all of it, or the tail: its replicas are behind, its file is written once a second. A life
that is gone gets another epoch. A tail that is gone, and perhaps refilled, is found by the checksum that
every read proves its position with.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, router
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from ..models import Stream
from ..protocol.codes import Resync
from ..protocol.entry import Entry
from ..protocol.position import Position, before
from ..protocol.recovery import Head
from .base import Draft, Mismatch, Run, SequenceLog, judge
from .endpoint import Endpoint, Script

logger = logging.getLogger(__name__)

PER_CALL = 500  # entries; a script that runs holds up everybody else
TRIM_STEP = 10_000  # entries
CLOCK_STEP = 1_000  # how far the log's clock may be behind its streams': a thousandth of what is plausible
UNFINISHED = 60.0  # seconds that the copy of a stream is kept when nobody goes on with it
META_SECONDS = 30 * 24 * 3600  # how much longer than its entries a stream's life is known
KEY_PREFIX = re.compile(r"[A-Za-z0-9._:-]*")

APPEND, READ, BLANK = (
    Script(files(__package__).joinpath(f"{name}.lua").read_text()) for name in ("append", "read", "blank")
)
EXISTING = Script("""
local reply, known = {redis.call('HGET', KEYS[1], 'epoch')}, redis.call('ZMSCORE', KEYS[3], unpack(ARGV))
for _, seq in ipairs(known) do
  local entry = seq and redis.call('XRANGE', KEYS[2], seq, seq)[1]
  if entry then reply[#reply + 1] = {tonumber(seq), entry[2][2], entry[2][4]} end
end
return cmsgpack.pack(reply)""")
TRIM = Script("""
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[1])
return redis.call('XTRIM', KEYS[2], 'MINID', '=', ARGV[1])""")
WRITTEN = Script("""
local entries, count, first = redis.call('XRANGE', KEYS[1], ARGV[2], '+', 'COUNT', ARGV[3]), 0, 0
for _, entry in ipairs(entries) do
  if string.match(entry[2][2], '^%S+ %S+ %S+ %S+ %S* (%S+)$') == ARGV[1] then
    count = count + 1
    if count == 1 then first = tonumber(string.match(entry[1], '%d+')) end
  end
end
local last = #entries == tonumber(ARGV[3]) and entries[#entries][1]
return cmsgpack.pack({count, first, last and tonumber(string.match(last, '%d+')) or 0})""")
NEW_EPOCH = Script("""
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then redis.call('HSET', KEYS[1], 'epoch', ARGV[2]) end
return 1""")
DROP = Script("return redis.call('UNLINK', unpack(KEYS))")
NAME = Script("return cmsgpack.pack(redis.call('HGET', KEYS[1], 'name'))")
CLOCK = Script("""
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
if tonumber(ARGV[1]) <= known then return known end
redis.call('SET', KEYS[1], ARGV[1])
return tonumber(ARGV[1])""")


class Origin(NamedTuple):
    """When an entry was appended, by the clock of the node that did it, and who wrote it."""

    moment: datetime
    author: str


class RedisLog(SequenceLog):
    """:param location: where it lies, `cluster`, `timeout`, `connections`, `options`: see `Endpoint`.
    :param key_prefix: begins every key; two logs on one Redis need two.
    :param using: the alias of the database whose transactions its appends wait for, and which holds its
        archive; by default where the router writes streams.
    """

    transactional = False

    def __init__(
        self,
        location: Any = None,
        *,
        cluster: bool = False,
        timeout: float = 0.5,
        connections: int = 32,
        options: Mapping[str, Any] | None = None,
        key_prefix: str = "reconnect:",
        using: str | None = None,
    ) -> None:
        if not KEY_PREFIX.fullmatch(key_prefix):
            raise ImproperlyConfigured(f"RedisLog: KEY_PREFIX {key_prefix!r} has more than A-Za-z0-9._:-")
        self.endpoint = Endpoint(
            location, cluster=cluster, timeout=timeout, connections=connections, options=options
        )
        self._prefix = key_prefix
        self._using = using
        self._clock_told = -CLOCK_STEP

    @property
    def using(self) -> str:
        return self._using or router.db_for_write(Stream)

    def keys(self, stream: str, *kinds: str) -> list[str]:
        """Keys of one stream, all in one slot.

        Users choose names; their hash as the hash tag lets nobody choose a slot, or another stream's keys.
        """
        tag = hashlib.sha256(stream.encode()).hexdigest()[:32]
        return [f"{self._prefix}{{{tag}}}:{kind}" for kind in kinds or ("meta", "stream", "ids")]

    # -- write -------------------------------------------------------------------------------------

    def append(
        self, stream: str, drafts: Sequence[Draft], clock: int, *, using: str | None = None
    ) -> list[Entry]:
        entries: list[Entry] = []
        for start in range(0, len(drafts), PER_CALL):
            entries += self._append(stream, drafts[start : start + PER_CALL], clock)
        if entries and entries[-1].clock >= self._clock_told + CLOCK_STEP:
            with suppress(RedisError):  # the entries are there: nobody may think that they aren't
                self.endpoint.run(CLOCK, [f"{self._prefix}clock"], entries[-1].clock)
                self._clock_told = entries[-1].clock
        return entries

    def _append(self, stream: str, drafts: Sequence[Draft], clock: int) -> list[Entry]:
        args: list[str | int] = [stream, clock, time.time_ns() // 1_000_000, *self._limits(stream)]
        for draft in drafts:
            author = f" {quote(draft.author)}" if draft.author else ""
            args += [draft.id, f"{draft.key or ''}{author}", draft.text]
        answer = self._run_append(stream, ["", 0, 0, *args])
        if answer is None:
            seq, known_clock = self._archived([stream]).get(stream, (0, 0))
            answer = self._run_append(stream, [secrets.token_hex(8), seq, known_clock, *args])
        epoch, *placed = answer
        return [
            _entry(stream, epoch, seq, header, draft.text if text is False else text)
            for draft, (seq, header, text) in zip(drafts, placed, strict=True)
        ]

    def _limits(self, stream: str) -> tuple[int, int, int]:
        """How many entries are kept, and how long they and the stream's life are, in ms; 0 = for ever."""
        kept = self.kept(stream)
        ms = int((kept.get("SECONDS") or 0) * 1000)
        return int(kept.get("ENTRIES") or 0), ms, ms and ms + META_SECONDS * 1000

    def _run_append(self, stream: str, args: Sequence[str | int]) -> Any:
        try:
            return self.endpoint.run(APPEND, self.keys(stream), *args)
        except RedisTimeout:  # it may have been appended: then the script says where
            return self.endpoint.run(APPEND, self.keys(stream), *args)

    def _archived(self, streams: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Head and clock of streams in the database's archive: a new life goes on above them."""
        try:
            rows = Stream.objects.using(self.using).filter(name__in=list(streams))
            return {name: (head, clock) for name, head, clock in rows.values_list("name", "head", "clock")}
        except DatabaseError:
            logger.warning("The archive can't be asked; streams begin at 1", exc_info=True)
            return {}

    def _begin(self, streams: Sequence[str]) -> None:
        archived = self._archived(streams)
        for name in streams:
            seq, clock = archived.get(name, (0, 0))
            begin = (secrets.token_hex(8), seq, clock, name, 0, 0, *self._limits(name))
            self.endpoint.run(APPEND, self.keys(name), *begin)

    def existing(self, stream: str, ids: Sequence[str], *, using: str | None = None) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for start in range(0, len(ids), PER_CALL):
            epoch, *known = self.endpoint.run(EXISTING, self.keys(stream), *ids[start : start + PER_CALL])
            entries = [_entry(stream, epoch, *fields) for fields in known if epoch]
            found |= {entry.id: entry for entry in entries}
        return found

    # -- read --------------------------------------------------------------------------------------

    def heads(self, streams: Sequence[str]) -> dict[str, Head]:
        names = list(dict.fromkeys(streams))
        found = self.begun(names)
        missing = [name for name in names if name not in found]
        if missing:
            self._begin(missing)
            found |= self.begun(missing)
        return found

    def begun(self, names: Sequence[str]) -> dict[str, Head]:
        """The heads of those of many streams that have a life; unknown ones stay unknown."""
        calls = [(self.keys(name, "meta", "stream"), (0, 0)) for name in names]
        answers = zip(names, self.endpoint.run_many(READ, calls), strict=True)
        return {name: _head(answer) for name, answer in answers if answer is not None}

    def read(self, stream: str, after: Position, limit: int) -> Run:
        return self._page(stream, after, limit)[0]

    def read_origins(self, stream: str, after: Position, limit: int) -> tuple[Run, dict[int, Origin]]:
        """`read`, and where each seq comes from."""
        run, answer = self._page(stream, after, limit)
        return run, dict(zip(answer[6::3], map(_origin, answer[7::3]), strict=True))

    def _page(self, stream: str, after: Position, limit: int) -> tuple[Run, list[Any]]:
        answer = self._read(stream, after.seq, limit + 1)
        if answer is None:
            raise Mismatch(Resync.EPOCH, self.heads([stream])[stream])
        head = _head(answer)
        return judge(head, after, limit, _entries(stream, head, answer)), answer

    def _read(self, stream: str, seq: int, count: int) -> Any:
        return self.endpoint.run(READ, self.keys(stream, "meta", "stream"), seq, count)

    def checksum_at(self, stream: str, epoch: str, seq: int) -> int | None:
        answer = self._read(stream, seq, 1)
        if answer is None or answer[0] != epoch:
            return None
        return next((e.checksum for e in _entries(stream, _head(answer), answer) if e.seq == seq), None)

    def clock(self) -> int:
        """The highest Lamport time of any stream, or up to 1000 less."""
        return self.endpoint.run(CLOCK, [f"{self._prefix}clock"], 0)  # type: ignore[no-any-return]

    def names(self) -> Iterator[str]:
        """The names of all streams, in no order."""
        yield from dict.fromkeys(
            self.endpoint.run(NAME, [key]) for key in self.endpoint.scan(f"{self._prefix}{{*}}:meta")
        )

    def newest_before(self, stream: str, moment: datetime) -> int | None:
        """The newest kept seq that was appended before a moment, by the clocks of the appending nodes."""
        limit, newest, start = moment.timestamp() * 1000, None, 0
        while answer := self._read(stream, start, PER_CALL):
            seqs, headers = answer[6::3], answer[7::3]
            old = [
                seq for seq, header in zip(seqs, headers, strict=True) if int(header.split(" ")[3]) < limit
            ]
            newest = old[-1] if old else newest
            if len(old) < PER_CALL:
                break
            start = seqs[-1] + 1
        return newest

    # -- forget ------------------------------------------------------------------------------------

    def trim(self, stream: str, floor: int) -> int:
        answer = self._read(stream, 0, 0)
        if answer is None:
            return 0
        head, gone = _head(answer), 0
        floor = min(floor, head.seq + 1)
        for below in range(head.floor, floor, TRIM_STEP):
            gone += self.endpoint.run(TRIM, self.keys(stream), min(below + TRIM_STEP, floor))
        return gone

    def written_by(self, author: str) -> Iterator[tuple[str, int, int]]:
        """The same; there is no index: every entry of every stream is looked at, in Redis."""
        for name in self.names():
            seq, total, lowest = 0, 0, 0
            while True:
                count, first, last = self.endpoint.run(
                    WRITTEN, self.keys(name, "stream"), quote(author), seq, PER_CALL
                )
                total, lowest = total + count, lowest or first
                if not last:
                    break
                seq = last + 1
            if total:
                yield name, total, lowest

    def blank(self, stream: str, author: str, text: str) -> None:
        """The same. While it runs, the stream is there twice.

        :raises RedisError: Redis is away, or somebody else does the same on this stream.
        """
        keys, token = self.keys(stream, "meta", "stream", "copy"), secrets.token_hex(8)
        deadline = time.monotonic() + 2 * UNFINISHED
        while said := self.endpoint.run(
            BLANK, keys, token, quote(author), text, PER_CALL, int(UNFINISHED * 1000)
        ):
            if said < 0 and time.monotonic() > deadline:
                raise RedisError(f"{stream} is being blanked by another process")
            if said < 0:
                time.sleep(0.2)

    def new_epoch(self, stream: str, expected: str) -> Head:
        self.endpoint.run(NEW_EPOCH, self.keys(stream, "meta"), expected, secrets.token_hex(8))
        return self.heads([stream])[stream]

    def drop(self, stream: str) -> None:
        self.endpoint.run(DROP, self.keys(stream))


def _entry(stream: str, epoch: str, seq: int, header: str, text: str) -> Entry:
    uid, checksum, clock, _, key, *_ = header.split(" ")
    return Entry(stream, epoch, seq, uid, int(checksum), int(clock), key or None, text)


def _origin(header: str) -> Origin:
    _, _, _, ms, _, *author = header.split(" ")
    return Origin(datetime.fromtimestamp(int(ms) / 1000, UTC), unquote(author[0]) if author else "")


def _entries(stream: str, head: Head, answer: list[Any]) -> list[Entry]:
    triples = zip(answer[6::3], answer[7::3], answer[8::3], strict=True)
    return [_entry(stream, head.epoch, *triple) for triple in triples]


def _head(answer: list[Any]) -> Head:
    epoch, seq, checksum, clock, floor, header = answer[:6]
    if not floor:
        return Head(epoch, seq, checksum, seq + 1, checksum, clock)
    uid, first, *_ = header.split(" ")
    return Head(epoch, seq, checksum, floor, before(int(first), [uid]), clock)
