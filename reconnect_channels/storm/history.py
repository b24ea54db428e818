"""What clients sent and saw, and what it proves: a checker in the manner of Jepsen's Kafka workload.

Every entry carries the key of its message, and seqs give the order, so each check is linear. The log is
not read: it is put together from what the clients saw. Memory grows with the messages of a run, not
with messages times clients.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from reconnect_channels.protocol.position import Position

MAX_EXAMPLES = 5

# What makes a run fail, with what it means.
FAULTS = {
    "lost": "acknowledged messages whose entry is not where the ack said",
    "duplicates": "messages that took effect more than once",
    "aborted": "messages that were rejected for good and took effect all the same",
    "gaps": "entries that a client skipped",
    "reorders": "entries that a client applied again or backwards",
    "fifo": "messages that overtook an earlier one of their sender",
    "diverged": "clients that don't hold the history of the others",
    "unanswered": "messages without an answer after everything healed",
}


class Seen(NamedTuple):
    """An entry as a client applied it."""

    epoch: str
    seq: int
    id: str
    key: str | None


@dataclass(slots=True)
class Acked:
    """What the server said of a producer's message."""

    stream: str
    producer: str
    number: int
    epoch: str | None
    seq: int | None


@dataclass
class Verdict:
    """Counts of everything, a few examples of each fault, and whether the run is good."""

    sent: int = 0
    acked: int = 0
    rejected: int = 0
    proven: int = 0
    unproven: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def blame(self, fault: str, example: str, times: int = 1) -> None:
        """Counts a fault."""
        assert fault in FAULTS
        self.faults[fault] += times
        if len(self.examples[fault]) < MAX_EXAMPLES:
            self.examples[fault].append(example)

    @property
    def ok(self) -> bool:
        """No fault, and something was proven: a run in which nothing could fail is not a good one."""
        return not any(self.faults.values()) and self.proven > 0


class History:
    """Takes events in any order between clients, in order for each; `judge` at the end."""

    def __init__(self, entries_per_message: int = 1) -> None:
        self._entries_per_message = entries_per_message
        self._sent = 0
        self._acked: dict[str, Acked] = {}
        self._rejected: dict[str, str] = {}  # key: stream
        self._unanswered: list[str] = []
        self._log: defaultdict[tuple[str, str], dict[int, tuple[str, str | None]]] = defaultdict(dict)
        self._places: dict[tuple[str, str], int] = {}  # (stream, key): the first seq
        self._repeated: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        self._at: dict[tuple[str, str], tuple[str, int]] = {}  # (client, stream): where it stands
        self._standing: defaultdict[str, dict[str, Position | None]] = defaultdict(dict)
        self._conflicts: dict[str, str] = {}  # client: example
        self._online = Verdict()

    # -- what producers did -----------------------------------------------------------------------------

    def sent(self) -> None:
        """A message was given to a client."""
        self._sent += 1

    def acknowledged(
        self,
        stream: str,
        producer: str,
        number: int,
        key: str,
        epoch: str | None,
        seq: int | None,
        *,
        after: Position | None = None,
    ) -> None:
        """The server said that the producer's message `number` took effect at (epoch, seq).

        `after` is where the producer stood when it sent: what it had seen already can't be its message.
        """
        self._acked[key] = Acked(stream, producer, number, epoch, seq)
        if after is not None and seq is not None and after.epoch == epoch and seq <= after.seq:
            self._online.blame("lost", f"{key}, acknowledged at {stream} {seq}: that was there before")

    def rejected(self, stream: str, key: str) -> None:
        """The server's final no."""
        self._rejected[key] = stream

    def unanswered(self, description: str) -> None:
        """A message that had every chance and no answer."""
        self._unanswered.append(description)

    @property
    def acked(self) -> dict[str, Acked]:
        """The acknowledged messages, by key."""
        return self._acked

    # -- what readers did -------------------------------------------------------------------------------

    def snapshot(self, client: str, stream: str, epoch: str, seq: int) -> None:
        """A client got the state: it knows only what comes after."""
        self._at[client, stream] = (epoch, seq)

    def applied(self, client: str, stream: str, entries: Iterable[Seen]) -> None:
        """A client applied these entries, in this order."""
        for entry in entries:
            self._continuity(client, stream, entry)
            log = self._log[stream, entry.epoch]
            known = log.setdefault(entry.seq, (entry.id, entry.key))
            if known != (entry.id, entry.key):
                self._conflicts.setdefault(
                    client, f"{client} has {entry.id} at {stream} {entry.seq}, others have {known[0]}"
                )
            if entry.key is not None:
                first = self._places.setdefault((stream, entry.key), entry.seq)
                if first != entry.seq:
                    self._repeated[stream, entry.key].update((first, entry.seq))

    def _continuity(self, client: str, stream: str, entry: Seen) -> None:
        epoch, seq = self._at.get((client, stream), ("", 0))
        self._at[client, stream] = (entry.epoch, entry.seq)
        if epoch != entry.epoch:
            self._online.blame("gaps", f"{client} came to another epoch of {stream} without a snapshot")
        elif entry.seq > seq + 1:
            example = f"{client} went from {stream} {seq} to {entry.seq}"
            self._online.blame("gaps", example, entry.seq - seq - 1)
        elif entry.seq <= seq:
            self._online.blame("reorders", f"{client} applied {stream} {entry.seq} after {seq}")

    def standing(self, client: str, stream: str, position: Position | None) -> None:
        """Where a client stands after everything healed; None = it isn't live."""
        self._standing[stream][client] = position

    def positions(self, stream: str) -> set[Position | None]:
        """Where the clients of a stream stand."""
        return set(self._standing[stream].values())

    # -- the end ----------------------------------------------------------------------------------------

    def judge(self) -> Verdict:
        """Judges the whole run."""
        verdict = Verdict(self._sent, len(self._acked), len(self._rejected))
        verdict.faults.update(self._online.faults)
        for fault, examples in self._online.examples.items():
            verdict.examples[fault] = list(examples)
        for description in self._unanswered:
            verdict.blame("unanswered", description)
        self._judge_acked(verdict)
        self._judge_order(verdict)
        for (stream, key), seqs in self._repeated.items():
            if len(seqs) > self._entries_per_message:
                verdict.blame("duplicates", f"{key} is at {stream} {sorted(seqs)}")
        for key, stream in self._rejected.items():
            if (stream, key) in self._places:
                verdict.blame("aborted", f"{key} is at {stream} {self._places[stream, key]}")
        self._judge_standing(verdict)
        return verdict

    def _judge_acked(self, verdict: Verdict) -> None:
        for key, acked in self._acked.items():
            place = f"{key}, acknowledged at {acked.stream} {acked.seq}"
            if acked.epoch is None or acked.seq is None:
                verdict.unproven += 1  # the handler published nothing there
                continue
            entry = self._log[acked.stream, acked.epoch].get(acked.seq)
            if entry is not None and entry[1] == key:
                verdict.proven += 1
            elif entry is not None:
                verdict.blame("lost", f"{place}: another entry is there")
            elif self._should_have_been_seen(acked.stream, acked.epoch, acked.seq):
                verdict.blame("lost", f"{place}: no client ever saw it")
            else:
                verdict.unproven += 1  # passed by snapshots, or not everybody is caught up

    def _should_have_been_seen(self, stream: str, epoch: str, seq: int) -> bool:
        """Whether the clients all came to rest, in this epoch, before the entry: it should have come.

        While some of them aren't caught up it may be on its way; they are blamed for that.
        """
        standing = self._standing[stream].values()
        return bool(standing) and all(
            there is not None and there.epoch == epoch and there.seq < seq for there in standing
        )

    def _judge_order(self, verdict: Verdict) -> None:
        lanes: defaultdict[tuple[str, str], list[tuple[int, str, int]]] = defaultdict(list)
        for key, acked in self._acked.items():
            seq = self._places.get((acked.stream, key), acked.seq)
            if acked.epoch is not None and seq is not None:
                lanes[acked.stream, acked.producer].append((acked.number, acked.epoch, seq))
        for (stream, producer), messages in lanes.items():
            highest: dict[str, int] = {}
            for number, epoch, seq in sorted(messages):
                if seq < highest.get(epoch, 0):
                    verdict.blame("fifo", f"message {number} of {producer} is at {stream} {seq}")
                highest[epoch] = max(seq, highest.get(epoch, 0))

    def _judge_standing(self, verdict: Verdict) -> None:
        diverged = dict(self._conflicts)
        for stream, standing in self._standing.items():
            groups = Counter(position for position in standing.values() if position is not None)
            common = max(groups, key=lambda there: (groups[there], there.seq), default=None)
            for client, position in standing.items():
                if position is None:
                    diverged.setdefault(client, f"{client} is not caught up with {stream}")
                elif position != common:
                    diverged.setdefault(client, f"{client} is at {stream} {position}, others at {common}")
        for example in diverged.values():
            verdict.blame("diverged", example)
