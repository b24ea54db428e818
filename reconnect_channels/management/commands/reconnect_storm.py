"""`manage.py reconnect_storm URL`: cuts connections under load, and checks that nothing was lost."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from reconnect_channels.storm.history import FAULTS
from reconnect_channels.storm.run import Plan, Progress, Report, Storm, quantile

MANY_PROBLEMS = 10


def _pair(separator: str) -> Any:
    def parse(text: str) -> tuple[str, str]:
        name, found, value = text.partition(separator)
        if not found or not name:
            raise ValueError(text)
        return name.strip(), value.strip()

    parse.__name__ = f"NAME{separator}VALUE"  # argparse shows it in its message
    return parse


class Command(BaseCommand):
    help = (
        "Runs clients against a WebSocket URL that send and follow streams while their connections are cut. "
        "Afterwards checks, from what the clients saw, that every acknowledged message took effect exactly "
        "once and in order, and that all clients hold the same history. Exits with 1 when that isn't so."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        plan = Plan("")
        parser.add_argument("url", help="ws://host/ws/board/ (may hold {n}, the number of the stream)")
        parser.add_argument("--clients", type=int, default=plan.clients)
        parser.add_argument("--streams", type=int, default=plan.streams)
        parser.add_argument("--duration", type=float, default=plan.duration, help="seconds of storm")
        parser.add_argument(
            "--cut-every", type=float, default=plan.cut_every, help="seconds between cuts; 0 = none"
        )
        parser.add_argument(
            "--cut-share", type=float, default=plan.cut_share, help="the share of clients that a cut hits"
        )
        parser.add_argument("--rate", type=float, default=plan.rate, help="messages per client and second")
        parser.add_argument(
            "--payload", default=json.dumps(plan.payload), help="JSON; {text} becomes a text of its own"
        )
        parser.add_argument("--stream-format", default=plan.stream_format, help="default: %(default)s")
        parser.add_argument(
            "--entries-per-message",
            type=int,
            default=plan.entries_per_message,
            help="how many entries your handler publishes on the message's stream",
        )
        parser.add_argument(
            "--cookie", type=_pair("="), action="append", default=[], metavar="NAME=VALUE", help="repeatable"
        )
        parser.add_argument(
            "--header", type=_pair(":"), action="append", default=[], metavar="NAME:VALUE", help="repeatable"
        )
        parser.add_argument("--origin", help="default: that of the URL")
        parser.add_argument("--seed", type=int, help="repeats the load of an earlier run")
        parser.add_argument("--json", action="store_true", help="print the report as JSON, no table")

    def handle(self, *args: Any, **options: Any) -> None:
        plan = self._plan(options)
        try:
            report = asyncio.run(self._run(plan))
        except KeyboardInterrupt:
            raise CommandError("interrupted: nothing was judged") from None
        except TimeoutError:
            raise CommandError(f"not all clients were live within {plan.patience:g} s") from None
        if options["json"]:
            self.stdout.write(json.dumps(report.as_dict(), indent=2))
        else:
            self._print(report)
        if not report.verdict.ok:
            faults = [f"{count} {fault}" for fault, count in report.verdict.faults.items() if count]
            raise CommandError(
                ", ".join(faults) or "nothing was proven: no entry of an acked message was seen"
            )

    @staticmethod
    def _plan(options: dict[str, Any]) -> Plan:
        try:
            payload = json.loads(options["payload"])
        except ValueError as error:
            raise CommandError(f"--payload is not JSON: {error}") from None
        if options["clients"] < 1 or options["streams"] < 1:
            raise CommandError("at least one client and one stream")
        seed = options["seed"]
        return Plan(
            url=options["url"],
            clients=options["clients"],
            streams=min(options["streams"], options["clients"]),
            duration=options["duration"],
            cut_every=options["cut_every"],
            cut_share=options["cut_share"],
            rate=options["rate"],
            payload=payload,
            stream_format=options["stream_format"],
            entries_per_message=options["entries_per_message"],
            cookies=dict(options["cookie"]),
            headers=dict(options["header"]),
            origin=options["origin"],
            seed=secrets.randbits(32) if seed is None else seed,
        )

    async def _run(self, plan: Plan) -> Report:
        from reconnect_channels.client import ClientError

        storm = Storm(plan)
        bar = _bar(plan)
        try:
            return await storm.run(bar.show)
        except ClientError as error:
            raise CommandError(f"no client gets in: {error}") from None
        except ValueError as error:
            raise CommandError(str(error)) from None
        finally:
            bar.close()

    def _print(self, report: Report) -> None:
        verdict = report.verdict
        rows: list[tuple[str, Any, str]] = [
            ("sent", verdict.sent, ""),
            ("acked", verdict.acked, ""),
            ("rejected", verdict.rejected, ""),
            ("proven", verdict.proven, "acked, and seen where the ack said"),
            ("unproven", verdict.unproven, "acked, and nobody could see it (snapshots, or not caught up)"),
            *((fault, verdict.faults[fault], meaning) for fault, meaning in FAULTS.items()),
            *((name.replace("_", " "), count, "") for name, count in report.counters.items()),
            ("caught up", _quantiles(report.caught_up), "from WELCOME until live, p50 / p99"),
            ("outage", _quantiles(report.outages), "from the cut until live, p50 / p99"),
        ]
        width = max(len(str(value)) for _, value, _ in rows)
        for name, value, meaning in rows:
            line = f"{name:<16} {value!s:>{width}}  {meaning}".rstrip()
            bad = name in FAULTS and value
            self.stdout.write(self.style.ERROR(line) if bad else line)
        for fault, examples in verdict.examples.items():
            for example in examples:
                self.stdout.write(self.style.ERROR(f"  {fault}: {example}"))
        for problem, count in sorted(report.problems.items(), key=lambda item: -item[1])[:MANY_PROBLEMS]:
            self.stdout.write(f"  {count} x {problem}")
        self.stdout.write(f"seed {report.plan.seed}")
        if verdict.ok:
            self.stdout.write(self.style.SUCCESS("nothing lost, doubled, out of order or diverged"))


def _quantiles(samples: list[float]) -> str:
    if not samples:
        return "-"
    return f"{quantile(samples, 0.5):.3f} / {quantile(samples, 0.99):.3f} s"


class _Bar:
    """No bar: not a terminal, or tqdm isn't installed."""

    def show(self, progress: Progress) -> None:
        return

    def close(self) -> None:
        return


class _TqdmBar(_Bar):
    def __init__(self, tqdm: Any, plan: Plan) -> None:
        self._bar = tqdm(
            total=plan.duration,
            file=sys.stderr,
            dynamic_ncols=True,
            leave=False,
            bar_format="{desc} |{bar}| {n:.0f}/{total:.0f} s{postfix}",
        )
        self._storm_began: float | None = None

    def show(self, progress: Progress) -> None:
        if progress.phase != "connecting" and self._storm_began is None:
            self._storm_began = progress.elapsed
        self._bar.set_description_str(progress.phase, refresh=False)
        self._bar.set_postfix_str(
            f"{progress.connected} connected, {progress.cuts} cuts, {progress.acked}/{progress.sent} acked",
            refresh=False,
        )
        began = progress.elapsed if self._storm_began is None else self._storm_began
        self._bar.n = min(progress.elapsed - began, self._bar.total)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


def _bar(plan: Plan) -> _Bar:
    if not sys.stderr.isatty():
        return _Bar()
    try:
        from tqdm import tqdm  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        return _Bar()
    return _TqdmBar(tqdm, plan)
