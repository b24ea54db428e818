"""Reads docs/migrate.md: the files where it starts, and diffs that can be applied and taken back."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.servers import ROOT

TEXT = (ROOT / "docs/migrate.md").read_text()
FILE = re.compile(r"^`(?P<path>[\w/.]+)`:\n\n```\w+\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
DIFF = re.compile(
    r"^```diff\n--- (?P<path>\S+)\n\+\+\+ (?P=path)\n(?P<hunks>.*?)^```$", re.DOTALL | re.MULTILINE
)


def section(heading: str) -> str:
    """From one `## heading` to the next."""
    begin = TEXT.index(f"\n## {heading}") + 1
    end = TEXT.find("\n## ", begin)
    return TEXT[begin : end if end > 0 else None]


def files(text: str) -> dict[str, str]:
    return {found["path"]: found["text"] for found in FILE.finditer(text)}


@dataclass(frozen=True)
class Diff:
    path: str
    hunks: tuple[tuple[str, str], ...]
    """(before, after) of each, in order."""

    def apply(self, folder: Path, back: bool = False) -> None:
        """Each hunk's context must be found once, below the hunk before it."""
        file = folder / self.path
        text = file.read_text() if file.exists() else ""
        at = 0
        for hunk in self.hunks:
            old, new = reversed(hunk) if back else hunk
            assert text.count(old, at) == 1 or not text, f"{self.path}: {text.count(old, at)} times:\n{old}"
            at = text.index(old, at)
            text = text[:at] + new + text[at + len(old) :]
            at += len(new)
        file.write_text(text)


def diffs(text: str) -> list[Diff]:
    found = []
    for diff in DIFF.finditer(text):
        hunks = []
        for hunk in diff["hunks"].split("@@\n")[1:]:
            lines = [line or " " for line in hunk.splitlines()]
            assert all(line[0] in " -+" for line in lines), hunk
            before = "".join(f"{line[1:]}\n" for line in lines if line[0] != "+")
            after = "".join(f"{line[1:]}\n" for line in lines if line[0] != "-")
            hunks.append((before, after))
        found.append(Diff(diff["path"], tuple(hunks)))
    assert found
    return found
