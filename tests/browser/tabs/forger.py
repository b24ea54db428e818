"""Any script of an origin may write on the channel by which its tabs talk: this one writes what it likes."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.browser.tabs.page import Person
from tests.servers import ROOT

SOURCE = ROOT / "client" / "src" / "tabs" / "letters.ts"
TYPES = re.findall(r"^  (\w+): (?:shape\(|\(\) =>)", SOURCE.read_text(), re.M)
"""Every type of letter that tabs know."""

SPY = """
globalThis.written = {};
globalThis.BroadcastChannel = class extends BroadcastChannel {
  constructor(name) {
    super(name);
    globalThis.pipe = name;
  }
  postMessage(data) {
    written[data.t] = data;
    super.postMessage(data);
  }
};
"""
"""Notes the name of a page's channel, and the last letter of every type that it wrote."""

# What JSON can't hold is written as JavaScript.
NASTY = [
    "null",
    "undefined",
    "NaN",
    "-1",
    "2 ** 52 - 1",
    "2 ** 53",
    "''",
    "'x'.repeat(200000)",
    "true",
    "{}",
    "[]",
]
NASTY += ["[[]]", "[null]", "{ '': null }", 'JSON.parse(\'{"__proto__": {"t": 1}}\')', "new Date(NaN)", "1n"]


class Forger:
    """A page without a client that writes to the tabs of a person."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.tab = person.profile.open(f"{person.url}/elsewhere/", background=True)
        self.pipe = person.pages[0].tab.evaluate("pipe")
        self.tab.evaluate(f"globalThis.channel = new BroadcastChannel({json.dumps(self.pipe)}); 0")

    def plausible(self) -> dict[str, dict[str, Any]]:
        """A letter of every type: one that was really written, where there was one."""
        written = [page.tab.evaluate("written") for page in self.person.pages]
        written.sort(key=lambda letters: letters.get("lead", {}).get("term", 0))
        letters: dict[str, Any] = {}
        for more in written:
            letters |= more
        term, leader = letters["lead"]["term"], letters["lead"]["tab"]
        follower = letters["join"]["tab"]
        fields = {
            "term": term,
            "tab": follower,
            "to": follower,
            "streams": [self.person.stream],
            "text": "{}",
        }
        fields |= {"id": leader, "ref": 1, "anew": True, "visible": True}
        return {kind: letters.get(kind, {"t": kind, **fields}) for kind in TYPES}

    def write(self, *letters: str) -> None:
        """Posts values, given as JavaScript."""
        self.tab.evaluate(f"[{','.join(letters)}].forEach((letter) => channel.postMessage(letter))")


def spoiled(letter: dict[str, Any]) -> Iterator[str]:
    """The letter as it is, without each of its fields, and with nonsense in each."""
    yield json.dumps(letter)
    for field in letter:
        rest = {name: value for name, value in letter.items() if name != field}
        yield json.dumps(rest)
        for value in NASTY:
            yield f"{{ ...{json.dumps(rest)}, {json.dumps(field)}: {value} }}"
    for field, value in letter.items():
        if isinstance(value, dict):
            for inner in spoiled(value):
                yield f"{{ ...{json.dumps(letter)}, {json.dumps(field)}: {inner} }}"
