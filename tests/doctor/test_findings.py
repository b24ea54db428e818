"""What is judged without asking anybody, and how probes are run."""

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.utils import timezone

from reconnect_channels.doctor import checks, database, layer, nodes, proxy, redis
from reconnect_channels.doctor.examination import PROBES, Probe, examine
from reconnect_channels.doctor.finding import Finding, Level, Plan, ok
from reconnect_channels.models import Node
from reconnect_channels.nodes import beat, begin
from tests.servers import ROOT
from tests.test_commands import Terminal

GOOD = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "120000",
}


def levels(findings: Iterator[Finding]) -> dict[str, Level]:
    return {each.name: each.level for each in findings if each.level is not Level.OK}


# -- PostgreSQL ----------------------------------------------------------------------------------------


def judged(**changed: str) -> dict[str, Level]:
    values = GOOD | changed
    found = [*database.durability(values), *database.writable(values, replica=False), *database.waits(values)]
    return levels(iter(found))


def test_good_settings_are_good():
    assert judged() == {}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"fsync": "off"}, {"fsync": "failure"}),
        ({"synchronous_commit": "off"}, {"synchronous_commit": "failure"}),
        ({"synchronous_commit": "remote_apply"}, {}),
        ({"full_page_writes": "off"}, {"full_page_writes": "warning"}),
        ({"transaction_isolation": "repeatable read"}, {"isolation": "failure"}),
        ({"transaction_read_only": "on"}, {"primary": "failure"}),
        ({"idle_session_timeout": "1000"}, {"idle_session_timeout": "warning"}),
    ],
)
def test_each_setting_is_named(changed, expected):
    assert judged(**changed) == expected


def test_a_replica_is_named():
    assert levels(database.writable(GOOD, replica=True)) == {"primary": "failure"}


@pytest.mark.parametrize(
    ("pooled", "shared", "level"),
    [(False, False, "ok"), (False, True, "ok"), (True, True, "ok"), (True, False, "warning")],
)
def test_a_pooler_that_django_does_not_know_of(pooled, shared, level):
    assert database.pooling(pooled=pooled, shared=shared).level == level


# -- SQLite --------------------------------------------------------------------------------------------


def test_the_file_system_is_that_of_the_longest_mount(tmp_path: Path):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\nserver:/srv /srv nfs4 rw 0 0\nserver:/d /srv/my\\040data cifs rw 0 0\n"
    )
    found = [
        database.file_system(path, str(mounts))
        for path in ("/srv/db", "/srv", "/srvx/db", "/srv/my data/db", "/home/db")
    ]
    assert found == ["nfs4", "nfs4", "ext4", "cifs", "ext4"]
    assert database.file_system("/srv/db", str(tmp_path / "none")) == ""


# -- Redis ---------------------------------------------------------------------------------------------

LOG = redis.Use("the log", None, keeps=True)
LAYER = redis.Use("the channel layer", None)
WELL = {"redis_version": "7.2.4", "role": "master", "maxmemory_policy": "noeviction", "aof_enabled": 1}


@pytest.mark.parametrize(
    ("use", "changed", "expected"),
    [
        (LOG, {}, {}),
        (LOG, {"redis_version": "6.0.9"}, {"version": "failure"}),
        (LOG, {"redis_version": "7.2.4", "valkey_version": "9.0.0"}, {}),
        (LOG, {"role": "slave"}, {"role": "failure"}),
        (LOG, {"maxmemory_policy": "allkeys-lru", "maxmemory": 1 << 20}, {"eviction": "failure"}),
        (LOG, {"maxmemory_policy": "volatile-lru", "maxmemory": 1 << 20}, {"eviction": "failure"}),
        (LOG, {"maxmemory_policy": "allkeys-lru"}, {}),
        (LOG, {"aof_enabled": 0}, {"persistence": "warning"}),
        (LOG, {"aof_last_write_status": "err"}, {"persistence": "failure"}),
        (LOG, {"used_memory": 95, "maxmemory": 100}, {"memory": "warning"}),
        (LAYER, {"aof_enabled": 0, "maxmemory_policy": "volatile-ttl"}, {}),
        (LAYER, {"maxmemory_policy": "allkeys-lru", "maxmemory": 1 << 20}, {"eviction": "warning"}),
    ],
)
def test_what_a_redis_tells_of_itself(use, changed, expected):
    assert levels(redis.judge(use, "It", WELL | changed)) == expected


# -- layer and nodes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "level"), [(0, "ok"), (1, "ok"), (2, "failure")])
def test_a_layer_within_one_process_is_for_one_node(count, level):
    assert layer.alone(count).level == level


@pytest.mark.database
@pytest.mark.django_db
def test_two_nodes_that_no_layer_connects_are_named():
    (alone,) = layer.probe(Plan())
    assert alone.level == "ok"
    begin("one", "")
    begin("two", "")
    (apart,) = layer.probe(Plan())
    assert apart.level == "failure"
    assert "2 nodes are alive" in apart.text


@pytest.mark.database
@pytest.mark.django_db
def test_nodes_that_are_silent_drain_or_have_wrong_clocks_are_named():
    for name in ("well", "silent", "draining", "ahead"):
        begin(name, "")
        beat(name, "")
    rows = Node.objects
    rows.filter(name="silent").update(seen=Now() - timedelta(minutes=5))
    rows.filter(name="draining").update(draining=True)
    rows.filter(name="ahead").update(clock=timezone.now() + timedelta(seconds=20))
    found = list(nodes.probe(Plan()))
    assert levels(iter(found)) == {"silent": "warning", "draining": "warning", "clock": "warning"}
    assert "3 alive on 1 host" in found[0].text
    (wrong,) = [each for each in found if each.name == "clock" and each.level is not Level.OK]
    assert wrong.text.startswith("The clock of ahead")
    assert "ahead of the database's" in wrong.text


# -- the public URL, and a socket on it ------------------------------------------------------------------


@pytest.mark.parametrize("url", ["https://example.com/", "board", "wss:///ws/"])
def test_what_is_no_url_is_told(url):
    (finding,) = proxy.probe(Plan(url=url))
    assert (finding.name, finding.level) == ("url", "failure")


@pytest.mark.parametrize(
    ("held", "level", "text"),
    [
        (proxy.Held(36, 6, 2), "ok", "2 pings"),
        (proxy.Held(36, 36, 0), "failure", "No ping"),
        (proxy.Held(5, 5, 0), "ok", "still open"),
        (proxy.Held(11, 10, 0, closed=True), "failure", "something between cut it"),
        (proxy.Held(11, 10, 0, closed=True, code=1011), "failure", "1011"),
        (proxy.Held(11, 1, 0, closed=True, code=4012, bye="going away"), "warning", "by the server"),
        (proxy.Held(11, 1, 0, closed=True, code=4012), "warning", "by the server"),
    ],
)
def test_who_closed_an_idle_socket(held, level, text):
    finding = proxy.judge(held, heartbeat=15)
    assert finding.level == level
    assert text in finding.text


# -- probes are run ------------------------------------------------------------------------------------


def run(probe: Any, seconds: float = 5, plan: Plan | None = None) -> list[Finding]:
    return list(examine(Probe("this", probe, seconds), plan or Plan()))


def test_a_probe_that_raises_is_a_failure_and_keeps_what_it_found():
    def probe(plan: Plan) -> Iterator[Finding]:
        yield ok("first", "fine")
        raise OSError("no route to host\n\tIs it running?")

    first, last = run(probe)
    assert first.name == "first"
    assert last.level == "failure"
    assert last.text == "can't be looked at: OSError: no route to host."


def test_a_probe_that_hangs_is_left_behind():
    never = threading.Event()

    def probe(plan: Plan) -> Iterator[Finding]:
        yield ok("first", "fine")
        never.wait()

    waited: list[None] = []
    first, last = examine(Probe("this", probe, 0.5), Plan(), lambda: waited.append(None))
    never.set()
    assert (first.name, last.name, last.level) == ("first", "time", "failure")
    assert waited


def test_a_probe_whose_library_is_missing_is_left_out():
    def probe(plan: Plan) -> Iterator[Finding]:
        import nothing_of_that_name  # noqa: F401

        yield ok("first", "fine")

    (left_out,) = run(probe)
    assert left_out.level == "warning"
    assert "pip install" in left_out.advice


# -- the command ---------------------------------------------------------------------------------------


@pytest.fixture
def two_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that warns, and one that finds nothing, in place of the real ones."""
    from reconnect_channels.doctor.finding import warning
    from reconnect_channels.management.commands import reconnect_doctor

    def warns(plan: Plan) -> Iterator[Finding]:
        plan.show("looks closely")
        threading.Event().wait(0.5)  # longer than the pause between two looks
        yield warning("draught", "It draws.", "Close the window.")

    def well(plan: Plan) -> Iterator[Finding]:
        yield ok("warm", "It is warm.")

    probes = (Probe("proxy", warns, 5), Probe("trip", well, 5))
    monkeypatch.setattr(reconnect_doctor, "PROBES", probes)


def test_a_line_for_each_finding_and_a_sum(two_probes):
    out = StringIO()
    call_command("reconnect_doctor", stdout=out, stderr=StringIO(), no_color=True)
    assert out.getvalue().splitlines() == [
        "warning  proxy     It draws. -> Close the window.",
        "ok       trip      It is warm.",
        "1 ok, 1 warning, 0 failure",
    ]


def test_warnings_fail_only_when_it_is_strict(two_probes):
    with pytest.raises(SystemExit) as ended:
        call_command("reconnect_doctor", "--strict", stdout=StringIO(), stderr=StringIO())
    assert ended.value.code == 1


def test_a_terminal_is_told_what_is_looked_at(two_probes):
    terminal = Terminal()
    call_command("reconnect_doctor", stdout=StringIO(), stderr=terminal)
    assert "proxy  looks closely" in terminal.getvalue()


def test_only_what_is_asked_for(two_probes):
    out = StringIO()
    call_command("reconnect_doctor", "--only=trip", stdout=out, stderr=StringIO())
    assert "1 ok, 0 warning" in out.getvalue()
    with pytest.raises(CommandError, match="invalid choice"):
        call_command("reconnect_doctor", "--only=weather")


@pytest.mark.database
@pytest.mark.django_db
def test_settings_that_cannot_be_read_are_said_once_and_plainly(settings):
    settings.RECONNECT_CHANNELS = {"HEARTBEATS": 3}
    out = StringIO()
    with pytest.raises(SystemExit):
        call_command("reconnect_doctor", "--only=checks", stdout=out, stderr=StringIO(), no_color=True)
    assert "HEARTBEATS" in out.getvalue()


@pytest.mark.database
@pytest.mark.django_db
def test_an_application_that_cannot_be_imported_is_named(settings):
    settings.ASGI_APPLICATION = "tests.nowhere.application"
    found = {each.name: each for each in checks.probe(Plan())}
    assert "ModuleNotFoundError" in found["application"].text


def test_what_builds_on_others_is_looked_at_after_them():
    assert [probe.name for probe in PROBES] == [
        *("checks", "database", "redis", "layer", "nodes", "proxy", "trip")
    ]


# -- its page ------------------------------------------------------------------------------------------


def test_the_page_names_every_finding_and_probe():
    page = (ROOT / "docs" / "doctor.md").read_text()
    sources = "\n".join(file.read_text() for file in (ROOT / "reconnect_channels" / "doctor").glob("*.py"))
    names = set(re.findall(r'\b(?:ok|warning|failure|say|_step)\(\s*"([a-z_]+)"', sources))
    assert len(names) > 40
    named = set(re.findall(r"`([^`\n]+)`", page))
    assert names <= named
    assert {probe.name for probe in PROBES} <= named
