"""Runs a storm: clients that send and follow streams while their connections are cut."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from reconnect_channels.client import (
    Answer,
    Client,
    ClientError,
    Closed,
    Entries,
    OutcomeUnknown,
    QueueOverflow,
    Refused,
    Rejected,
    Snapshot,
    State,
    connect,
)

from .history import FAULTS, History, Seen, Verdict

MAX_WAITING = 200  # messages of one client; above, it sends no more until some are answered
MAX_SAMPLES = 100_000
SETTLE = 5.0  # seconds on top of the backoff cap and the connect timeout (design P6)


@dataclass(frozen=True)
class Plan:
    """What to do. `url` and `stream_format` may hold `{n}`, the number of the stream."""

    url: str
    clients: int = 50
    streams: int = 5
    duration: float = 30.0
    cut_every: float = 1.0
    cut_share: float = 0.05
    rate: float = 0.5  # messages per client and second
    payload: Any = field(default_factory=lambda: {"text": "{text}"})
    stream_format: str = "board:storm-{n}"
    entries_per_message: int = 1
    cookies: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    origin: str | None = None
    maximum: float = 20.0
    connect_timeout: float = 8.0
    seed: int = 0

    @property
    def patience(self) -> float:
        """How long after the last fault everything must be well again."""
        return self.maximum + self.connect_timeout + SETTLE

    def stream(self, number: int) -> str:
        return self.stream_format.replace("{n}", str(number))


@dataclass(frozen=True)
class Progress:
    """What a progress bar shows."""

    elapsed: float
    phase: str
    connected: int
    sent: int
    acked: int
    cuts: int


@dataclass
class Report:
    """The verdict and the measurements."""

    plan: Plan
    verdict: Verdict
    counters: dict[str, int]
    caught_up: list[float]  # seconds from WELCOME until live
    outages: list[float]  # seconds from the cut until live
    healed: float | None  # seconds from the end of the storm until all stood where the log ends
    reset_at: float | None  # when the last snapshot came, after those of the start, by the loop's clock
    problems: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        verdict = self.verdict
        return {
            "ok": verdict.ok,
            "seed": self.plan.seed,
            "sent": verdict.sent,
            "acked": verdict.acked,
            "rejected": verdict.rejected,
            "proven": verdict.proven,
            "unproven": verdict.unproven,
            **{fault: verdict.faults[fault] for fault in FAULTS},
            **self.counters,
            "caught_up_p50": quantile(self.caught_up, 0.5),
            "caught_up_p99": quantile(self.caught_up, 0.99),
            "outage_p50": quantile(self.outages, 0.5),
            "outage_p99": quantile(self.outages, 0.99),
            "healed": self.healed,
            "problems": self.problems,
            "examples": dict(verdict.examples),
        }


def quantile(samples: list[float], share: float) -> float | None:
    """The nearest-rank quantile in seconds, or None without samples."""
    if not samples:
        return None
    ordered = sorted(samples)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


def fill(template: Any, text: str) -> Any:
    """The payload template with `{text}` replaced in every string."""
    if isinstance(template, str):
        return template.replace("{text}", text)
    if isinstance(template, list):
        return [fill(item, text) for item in template]
    if isinstance(template, dict):
        return {key: fill(item, text) for key, item in template.items()}
    return template


class Storm:
    """One run. Beside the clients, one witness per stream is never cut and sends nothing."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.history = History(plan.entries_per_message)
        self._random = random.Random(plan.seed)
        self._clients: list[_Participant] = []
        self._witnesses: list[_Participant] = []
        self._caught_up: deque[float] = deque(maxlen=MAX_SAMPLES)
        self._outages: deque[float] = deque(maxlen=MAX_SAMPLES)
        self._problems: Counter[str] = Counter()
        self._sending: dict[asyncio.Task[None], str] = {}
        self._cuts = 0
        self._skipped = 0
        self._sent = 0
        self._acked = 0
        self._ends: dict[tuple[str, str], int] = {}  # (stream, epoch): the highest seq of an ack
        self._healed: float | None = None
        self._reset_at: float | None = None
        self._phase = "connecting"

    async def run(
        self,
        watch: Callable[[Progress], object] = lambda progress: None,
        during: Callable[[], Awaitable[object]] | None = None,
    ) -> Report:
        """Does it all. Raises Closed or Refused when the server turns every client away at the start.

        :param during: faults from elsewhere, which are healed when it returns; the storm lasts as long.
        """
        plan = self.plan
        self._clients = [_Participant(self, f"client-{n}", n % plan.streams) for n in range(plan.clients)]
        self._witnesses = [_Participant(self, f"witness-{n}", n) for n in range(plan.streams)]
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def tell() -> None:
            while True:
                watch(self._progress(loop.time() - began))
                await asyncio.sleep(0.2)

        async with AsyncExitStack() as stack:
            teller = asyncio.create_task(tell())
            stack.callback(teller.cancel)
            stack.push_async_callback(self._close)
            for number, one in enumerate((*self._witnesses, *self._clients)):
                await one.client.__aenter__()
                if number % 10 == 9:
                    await asyncio.sleep(0.02)  # the storm is to come, not to be made by the start
            await self._wait_for_all(plan.patience)
            self._phase = "storm"
            work = [asyncio.create_task(self._send(one)) for one in self._clients]
            if plan.cut_every > 0:
                work.append(asyncio.create_task(self._cut()))
            await (during() if during is not None else asyncio.sleep(plan.duration))
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            self._phase = "healing"
            await self._heal()
            watch(self._progress(loop.time() - began))
            return self._report()

    async def _close(self) -> None:
        """All at once: a proxy may take a second for each."""
        await asyncio.gather(*(one.client.close() for one in (*self._witnesses, *self._clients)))

    async def _wait_for_all(self, timeout: float) -> None:
        async with asyncio.timeout(timeout):
            await asyncio.gather(*(one.client.live(one.stream) for one in (*self._witnesses, *self._clients)))

    async def _send(self, one: _Participant) -> None:
        if self.plan.rate <= 0:
            return
        while True:
            await asyncio.sleep(self._random.expovariate(self.plan.rate))
            if one.client.waiting >= MAX_WAITING:
                self._skipped += 1
                continue
            one.number += 1
            self._sent += 1
            self.history.sent()
            task = asyncio.create_task(self._deliver(one, one.number))
            self._sending[task] = f"message {one.number} of {one.name}"
            task.add_done_callback(lambda done: self._sending.pop(done, None))

    async def _deliver(self, one: _Participant, number: int) -> None:
        payload = fill(self.plan.payload, f"{one.name} {number} {self._random.getrandbits(32):08x}")
        after = one.client.position(one.stream)
        try:
            answer: Answer = await one.client.send(one.stream, payload)
        except Rejected as rejected:
            self.history.rejected(one.stream, rejected.id or "")
            self._problems[f"rejected {rejected.code} {rejected.reason}"] += 1
        except QueueOverflow:
            self._problems["evicted"] += 1
        except (OutcomeUnknown, Closed) as ended:
            self.history.unanswered(f"message {number} of {one.name}: {ended}")
        else:
            self._acked += 1
            if answer.epoch is not None and answer.seq is not None:
                end = one.stream, answer.epoch
                self._ends[end] = max(answer.seq, self._ends.get(end, 0))
            self.history.acknowledged(
                one.stream, one.name, number, answer.id, answer.epoch, answer.seq, after=after
            )

    async def _cut(self) -> None:
        while True:
            await asyncio.sleep(self.plan.cut_every)
            connected = [one for one in self._clients if one.client.state is State.CONNECTED]
            share = max(1, round(self.plan.cut_share * len(self._clients)))
            for one in self._random.sample(connected, min(share, len(connected))):
                self._cuts += 1
                one.client.cut()

    async def _heal(self) -> None:
        """Lets every outbox drain and every client reach the same position; time decides otherwise."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + self.plan.patience
        everybody = (*self._witnesses, *self._clients)
        try:
            async with asyncio.timeout_at(deadline):
                if self._sending:
                    await asyncio.wait(self._sending)
                await asyncio.gather(*(one.client.live(one.stream) for one in everybody))
                while not self._agree():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            self._healed = round(loop.time() - began, 3)
        except (TimeoutError, ClientError) as error:
            reason = str(error) or "time is up"
            self._problems[f"not healed: {reason}"] += 1
        for task, description in list(self._sending.items()):
            self.history.unanswered(description)
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        for one in everybody:
            live = one.client.state is State.CONNECTED and not one.client.stale(one.stream)
            self.history.standing(one.name, one.stream, one.client.position(one.stream) if live else None)

    def _agree(self) -> bool:
        """Whether all stand at one position, and what was acknowledged isn't beyond it."""
        heads = {one.stream: one.client.position(one.stream) for one in self._witnesses}
        for stream, head in heads.items():
            if head is None or head.seq < self._ends.get((stream, head.epoch), 0):
                return False
        return all(one.client.position(one.stream) == heads[one.stream] for one in self._clients)

    def _progress(self, elapsed: float) -> Progress:
        connected = sum(one.client.state is State.CONNECTED for one in self._clients)
        return Progress(elapsed, self._phase, connected, self._sent, self._acked, self._cuts)

    def _report(self) -> Report:
        metrics: Counter[str] = Counter()
        for one in (*self._witnesses, *self._clients):
            metrics += one.client.metrics
        counters = {
            "cuts": self._cuts,
            "skipped": self._skipped,
            "reconnects": metrics["drops"],
            "attempts": metrics["attempts"],
            "entries": metrics["entries"],
            "snapshots": metrics["snapshots"],
            "heals": metrics["heals"],
            "repeats": metrics["repeats"],
            "retransmissions": metrics["retransmissions"],
            "retries": metrics["retries"],
            "server_errors": metrics["errors"],
            "lost_noticed": metrics["lost"],
        }
        return Report(
            self.plan,
            self.history.judge(),
            counters,
            list(self._caught_up),
            list(self._outages),
            self._healed,
            self._reset_at,
            dict(self._problems),
        )


class _Participant:
    """One client, the stream it follows, and how long its outages last."""

    def __init__(self, storm: Storm, name: str, stream_number: int) -> None:
        plan = storm.plan
        self.name = name
        self.stream = plan.stream(stream_number)
        self.number = 0
        self._storm = storm
        self._dropped_at: float | None = None
        self._welcomed_at = 0.0
        self._measuring: asyncio.Task[None] | None = None
        self.client: Client = connect(
            plan.url.replace("{n}", str(stream_number)),
            origin=plan.origin,
            cookies=plan.cookies,
            headers=plan.headers,
            maximum=plan.maximum,
            connect_timeout=plan.connect_timeout,
            on_state=self._moved,
            on_error=self._went_wrong,
        )
        self.client.subscribe(self.stream, on_snapshot=self._reset, on_entries=self._apply)

    def _reset(self, item: Snapshot) -> None:
        self._storm.history.snapshot(self.name, self.stream, item.epoch, item.seq)
        if self._storm._phase != "connecting":
            self._storm._reset_at = asyncio.get_running_loop().time()

    def _apply(self, item: Entries) -> None:
        self._storm.history.applied(
            self.name, self.stream, [Seen(item.epoch, entry.seq, entry.id, entry.key) for entry in item]
        )

    def _went_wrong(self, error: ClientError) -> None:
        kind = "refused" if isinstance(error, Refused) else type(error).__name__
        self._storm._problems[f"{kind}: {error}"[:200]] += 1

    def _moved(self, state: State) -> None:
        now = asyncio.get_running_loop().time()
        if state is State.DISCONNECTED and self._dropped_at is None:
            self._dropped_at = now
        elif state is State.CONNECTED:
            self._welcomed_at = now
            if self._dropped_at is not None and self._measuring is None:
                self._measuring = asyncio.create_task(self._measure())

    async def _measure(self) -> None:
        try:
            await self.client.live(self.stream)
            now = asyncio.get_running_loop().time()
            assert self._dropped_at is not None
            self._storm._caught_up.append(now - self._welcomed_at)
            self._storm._outages.append(now - self._dropped_at)
            self._dropped_at = None
        except ClientError:
            pass  # the end of the client; the verdict tells
        finally:
            self._measuring = None
