"""The documentation agrees with the code, and its examples run."""

import re
from dataclasses import fields
from typing import Any

import pytest
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.apps import apps

from reconnect_channels.conf import Settings
from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin
from reconnect_channels.protocol import frames
from reconnect_channels.protocol.codes import Close, reconnects
from reconnect_channels.protocol.limits import Limits
from reconnect_channels.publication import publish
from tests.servers import ROOT

GUIDE = (ROOT / "docs/guide.md").read_text()
PROTOCOL = (ROOT / "docs/protocol.md").read_text()
README = (ROOT / "README.md").read_text()
CLIENT = (ROOT / "docs/client.md").read_text()
CLIENT_TYPES = (ROOT / "client/dist/index.d.ts").read_text()


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


def test_the_privacy_page_says_of_everything_that_is_stored_how_long_it_is_kept():
    privacy = (ROOT / "docs/privacy.md").read_text()
    table = privacy[privacy.index("## What is kept") : privacy.index("## Who wrote")]
    for model in apps.get_app_config("reconnect_channels").get_models():
        assert f"`{model.__name__}`" in table, f"{model.__name__} is missing"
    for field in fields(Settings):
        if field.name.endswith("_SECONDS") and field.name != "CLAIM_SECONDS":
            assert f"`{field.name}`" in table, f"{field.name} is missing"


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
    for name in Limits().wire():
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


def members(interface: str) -> list[str]:
    """The names that an interface of the browser client declares."""
    found = re.search(rf"interface {interface}\b[^{{]*\{{(.*?)^\}}", CLIENT_TYPES, re.DOTALL | re.MULTILINE)
    assert found is not None, interface
    code = re.sub(r"/\*.*?\*/", "", found[1], flags=re.DOTALL)
    return re.findall(r"^ {4}(?:readonly )?(\w+)\??[:(<]", code, re.MULTILINE)


@pytest.mark.parametrize(
    "interface",
    ["Options", "Client", "ClientEvents", "PersistenceEvents", "Snapshot", "TabsOptions", "PersistOptions"],
)
def test_the_clients_page_names_all_of_its_api(interface: str):
    own = {"environment"}  # for tests of the package itself
    names = [name for name in members(interface) if name not in own]
    assert names
    assert [name for name in names if not re.search(rf"`[^`]*\b{name}\b[^`]*`", CLIENT)] == []


def test_the_clients_page_links_only_to_what_is_there():
    for text, folder in [(CLIENT, ROOT / "docs"), (README, ROOT)]:
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (folder / target).exists(), target
