"""`manage.py reconnect_publish board:1 '{"type": "ping"}'`: publishes by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import announcement, registry
from ...publication import publish


class Command(BaseCommand):
    help = "Publishes an entry to a stream; prints the epoch, seq and id of each."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("stream", help="name; one that isn't there yet begins")
        parser.add_argument("payload", nargs="?", help="JSON")
        parser.add_argument("--file", metavar="PATH", help='the JSON is in a file; "-" = standard input')
        parser.add_argument("--repeat", type=int, default=1, metavar="N", help="so many entries of it")

    def handle(self, *args: Any, **options: Any) -> None:
        stream, repeat = options["stream"], options["repeat"]
        if repeat < 1:
            raise CommandError("--repeat is 1 or more")
        payload = _payload(options["payload"], options["file"])
        registry.load()
        if registry.consumer_for(stream) is None:
            self.stderr.write(
                f"No consumer of this project serves {stream!r}: nobody may be able to read it."
            )
        try:
            for _ in range(repeat):
                entry: Any = publish(stream, payload)
                self.stdout.write(f"{entry.epoch} {entry.seq} {entry.id}")
        except ValueError as error:  # the name, or a payload that can't travel
            raise CommandError(str(error)) from error
        finally:
            announcement.stop()  # sends what is queued


def _payload(text: str | None, file: str | None) -> Any:
    if (text is None) == (file is None):
        raise CommandError("give the payload, or --file: one of them")
    try:
        if file is not None:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        return msgspec.json.decode(text or "")
    except (OSError, UnicodeError) as error:
        raise CommandError(f"{file} can't be read: {error}") from error
    except msgspec.DecodeError as error:
        raise CommandError(f"the payload isn't JSON: {error}. A text needs quotes: '\"text\"'") from error
