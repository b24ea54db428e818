"""The documentation agrees with the code, and its examples run."""

import re
from dataclasses import fields
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from reconnect_channels.conf import Settings
from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin
from reconnect_channels.protocol import exchange, frames
from reconnect_channels.protocol.codes import Close, reconnects
from reconnect_channels.publication import publish
from tests.servers import ROOT

GUIDE = (ROOT / "docs/guide.md").read_text()
PROTOCOL = (ROOT / "docs/protocol.md").read_text()
README = (ROOT / "README.md").read_text()


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_guide_lists_every_setting_with_its_default():
    table = GUIDE[GUIDE.index("## Settings") : GUIDE.index("## Servers")]
    for field in fields(Settings):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        row = next((line for line in rows if f"`{field.name}`" in line.split("|")[1]), None)
        assert row is not None, f"{field.name} is missing"
        names = [name.strip(" `") for name in row.split("|")[1].split(",")]
        defaults = [text.strip(" `") for text in row.split("|")[2].split(", ")]
        if isinstance(field.default, int | float) and len(names) == len(defaults):
            shown = defaults[names.index(field.name)]
            expected = f"{field.default >> 20} MiB" if field.name == "MAX_SNAPSHOT" else f"{field.default:g}"
            assert shown in (expected, str(field.default))


def test_the_protocol_lists_every_close_code_with_what_to_do():
    table = PROTOCOL[PROTOCOL.index("## 7.") :]
    for code in Close:
        row = re.search(rf"^\| {int(code)}.*\| (yes|no)", table, re.MULTILINE)
        assert row is not None, f"{code!r} is missing"
        assert (row[1] == "yes") == reconnects(code)


def test_the_protocol_names_every_client_frame_and_its_fields():
    for name, frame in frames._TYPES.items():
        row = re.search(rf"^\| `{name}` \| (.*)$", PROTOCOL, re.MULTILINE)
        assert row is not None, f"{name} is missing"
        for field in frame.__struct_fields__:
            assert f"`{field}`" in row[1], f"{name}.{field} is missing"


def test_the_protocol_names_every_limit_of_welcome():
    row = re.search(r"^\| `WELCOME` \| (.*)$", PROTOCOL, re.MULTILINE)
    assert row is not None
    for name in exchange.Limits().wire():
        assert name in row[1]


@pytest.mark.parametrize("text", [README, GUIDE], ids=["readme", "guide"])
def test_python_examples_are_python(text: str):
    for block in python_blocks(text):
        compile(block, "example", "exec", flags=0x2000)  # top-level await is fine


class BoardConsumer(DeltaSyncMixin, DedupMixin, AsyncJsonWebsocketConsumer):
    def can_subscribe(self, stream: str) -> bool:
        return True

    def receive_message(self, message: Any) -> Any:
        return publish(message.stream, message.payload).seq


@pytest.mark.django_db(transaction=True)
@pytest.mark.database
async def test_the_guides_test_example_passes():
    block = next(block for block in python_blocks(GUIDE) if "StreamCommunicator" in block)
    names: dict[str, Any] = {"BoardConsumer": BoardConsumer}
    exec(block, names)
    from reconnect_channels.testing import closed_hub

    async with closed_hub():
        await names["test_nothing_is_lost"]()
