"""`manage.py reconnect_erase --user 7`: blanks what somebody wrote, and forgets what is known of them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import announcement, erasure, registry
from ...erasure import Erased
from ..progress import Progress

PARTS = ("entries", "streams", "states", "answers", "producers", "sessions", "reports")
WORDS = dict(zip(PARTS, ("entries", "streams", "stored states", *PARTS[3:6], "drift reports"), strict=True))


class Command(BaseCommand):
    help = (
        "Blanks every payload that somebody wrote, on all streams of all logs, and forgets their sessions, "
        "producers and drift reports. Entries keep their numbers: no client resyncs. What the application "
        "keeps in its own tables is the application's: erase it first. This can't be undone."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument(
            "--user", metavar="PK", help="primary key or username, also of a deleted user's key"
        )
        whose.add_argument("--identity", help="what get_identity returns, where it isn't the default")
        parser.add_argument("--dry-run", action="store_true", help="only count")
        parser.add_argument(
            "--yes", "--noinput", "--no-input", action="store_false", dest="interactive", help="don't ask"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        registry.load()
        identity = options["identity"] if options["user"] is None else _identity(options["user"])
        if not options["dry_run"] and options["interactive"]:
            found = _erase(identity, dry_run=True)
            answer = input(f"{identity}: {_counts(found)} will be erased for good. Go on? [y/N] ")
            if answer.strip().lower() not in ("y", "yes"):
                raise CommandError("nothing was changed")
        bar: Progress | None = None

        def progress(done: int, total: int) -> None:
            nonlocal bar
            bar = bar or Progress(self.stderr, total)
            bar.show(done, "streams")

        result = _erase(identity, dry_run=options["dry_run"], progress=progress)
        if bar is not None:
            bar.clear()
        announcement.stop()  # sends what is queued
        verb = "would be erased" if options["dry_run"] else "erased"
        self.stdout.write(f"{identity}: {_counts(result)} {verb}.")
        for stream in result.unfolded:
            self.stderr.write(
                f"{stream}: its state couldn't be folded anew, and may hold what was erased: see "
                'docs/privacy.md, "Entries that retention took".'
            )
        if result.failed:
            lines = (f"{name}: {type(error).__name__}: {error}" for name, error in result.failed.items())
            raise CommandError("\n".join(["These streams couldn't be erased:", *lines]))


def _erase(identity: str, **options: Any) -> Erased:
    try:
        return erasure.erase(identity, **options)
    except Exception as error:
        name = type(error).__name__
        raise CommandError(f"This didn't come to its end, run it again: {name}: {error}") from error


def _identity(user: str) -> str:
    """The default identity of a user, who may be deleted already if it is the primary key.

    :raises CommandError: nobody has this name, and it can't be a primary key.
    """
    try:
        model = get_user_model()
    except ImproperlyConfigured as error:
        raise CommandError("there is no user model: give --identity") from error
    users = model._default_manager
    named = users.filter(**{model.USERNAME_FIELD: user}).values_list("pk", flat=True).first()
    try:
        pk = model._meta.pk.to_python(user)
    except ValidationError:
        pk = None
    known = pk is not None and users.filter(pk=pk).exists()
    if named is not None and known and named != pk:
        raise CommandError(
            f"{user} is the name of one user and the key of another: give --identity user:<pk>"
        )
    pk = named if named is not None else pk
    if pk is None:
        raise CommandError(f"no user {user!r}: give the primary key, or --identity")
    return f"user:{pk}"[:200]


def _counts(result: Erased) -> str:
    counts = [f"{getattr(result, part):,} {word}" for part, word in WORDS.items()]
    return ", ".join(counts)
