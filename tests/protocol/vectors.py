"""The JSON vectors that every implementation of the protocol must agree with."""

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "vectors"


def load(name: str) -> list[dict[str, Any]]:
    document = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert document.keys() == {"about", "cases"}
    return document["cases"]  # type: ignore[no-any-return]


def each(name: str, **fields: Any) -> pytest.MarkDecorator:
    """Runs a test once for each case of a file, or for those with the given fields."""
    cases = [case for case in load(name) if fields.items() <= case.items()]
    return pytest.mark.parametrize("case", cases, ids=[label(case) for case in cases])


def label(case: dict[str, Any]) -> str:
    name = case.get("name") or ", ".join(f"{key} {value}" for key, value in case.items())
    return name.encode("ascii", "backslashreplace").decode()


def text(case: dict[str, Any]) -> str:
    """The frame of a case of frames.json."""
    if "text" in case:
        return str(case["text"])
    return "".join(piece if isinstance(piece, str) else piece[0] * piece[1] for piece in case["repeated"])
