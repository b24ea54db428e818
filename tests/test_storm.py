"""The storm's checker, with a bad history for every verdict, and the storm itself."""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from io import StringIO
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")  # where a server imports `application`

from django.core.asgi import get_asgi_application

get_asgi_application()

import pytest  # noqa: E402
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import URLRouter  # noqa: E402
from django.core.management import CommandError, call_command  # noqa: E402
from django.urls import path  # noqa: E402

from reconnect_channels.consumers import DedupMixin, DeltaSyncMixin  # noqa: E402
from reconnect_channels.protocol.position import Position  # noqa: E402
from reconnect_channels.storm.history import FAULTS, MAX_EXAMPLES, History, Seen, Verdict  # noqa: E402
from reconnect_channels.storm.run import Plan, Progress, Report, Storm, fill, quantile  # noqa: E402
from tests.servers import asgi_server  # noqa: E402
from tests.test_client import EPOCH as EPOCH_OF_BOARD  # noqa: E402
from tests.test_client import Board, frame  # noqa: E402

EPOCH, OTHER = "one", "two"


def entry(seq: int, key: str | None = None, *, epoch: str = EPOCH, id: str | None = None) -> Seen:
    return Seen(epoch, seq, id or f"id-{seq}", f"key-{seq}" if key is None else key)


def stand(history: History, seq: int, *clients: str, epoch: str = EPOCH, checksum: int = 7) -> None:
    for client in clients:
        history.standing(client, "s", Position(epoch, seq, checksum))


def good() -> History:
    """Two clients see three messages of theirs; the second joined after the first message."""
    history = History()
    for seq, producer in enumerate("aba", 1):
        history.sent()
        history.acknowledged("s", producer, seq, f"key-{seq}", EPOCH, seq)
    history.snapshot("a", "s", EPOCH, 0)
    history.snapshot("b", "s", EPOCH, 1)
    history.applied("a", "s", [entry(1), entry(2), entry(3)])
    history.applied("b", "s", [entry(2), entry(3)])
    return history


def judge(history: History, *, at: int = 3) -> Verdict:
    stand(history, at, "a", "b")
    return history.judge()


def faults(verdict: Verdict) -> dict[str, int]:
    assert verdict.ok is (not verdict.faults)
    return dict(verdict.faults)


def test_a_good_history_is_good():
    verdict = judge(good())
    assert faults(verdict) == {}
    assert (verdict.sent, verdict.acked, verdict.proven, verdict.unproven) == (3, 3, 3, 0)


def test_lost_another_entry_where_the_ack_pointed():
    history = good()
    history.acknowledged("s", "b", 9, "mine", EPOCH, 3)
    assert faults(judge(history))["lost"] == 1


def test_lost_nobody_ever_saw_it():
    history = good()
    history.acknowledged("s", "b", 9, "mine", EPOCH, 4)
    verdict = judge(history)
    assert faults(verdict) == {"lost": 1}
    assert "mine" in verdict.examples["lost"][0]


def test_what_may_still_be_on_its_way_is_unproven_and_the_late_client_is_blamed():
    history = good()
    history.acknowledged("s", "b", 9, "mine", EPOCH, 4)
    history.standing("late", "s", None)
    verdict = judge(history)
    assert faults(verdict) == {"diverged": 1}
    assert verdict.unproven == 1


def test_lost_the_ack_points_at_what_its_sender_had_seen_before():
    history = good()
    for client in "ab":
        history.snapshot(client, "s", EPOCH, 9)
    history.acknowledged("s", "b", 9, "mine", EPOCH, 8, after=Position(EPOCH, 9, 7))
    assert faults(judge(history, at=9)) == {"lost": 1}


def test_the_right_key_at_another_seq_is_lost_and_so_is_the_one_it_displaced():
    history = good()
    history.acknowledged("s", "b", 2, "key-3", EPOCH, 2)
    assert faults(judge(history))["lost"] == 1


def test_what_every_client_passed_by_snapshot_is_unproven_not_lost():
    history = good()
    history.acknowledged("s", "a", 9, "mine", EPOCH, 5)
    for client in "ab":
        history.snapshot(client, "s", EPOCH, 6)
    verdict = judge(history, at=6)
    assert faults(verdict) == {}
    assert verdict.unproven == 1


def test_what_an_older_epoch_held_is_unproven():
    history = good()
    history.acknowledged("s", "a", 9, "mine", EPOCH, 4)
    for client in "ab":
        history.snapshot(client, "s", OTHER, 9)
    stand(history, 9, "a", "b", epoch=OTHER)
    verdict = history.judge()
    assert faults(verdict) == {}
    assert verdict.unproven == 1


def test_a_key_in_two_entries_is_a_duplicate():
    history = good()
    for client in "ab":
        history.applied(client, "s", [entry(4, "key-2")])
    verdict = judge(history, at=4)
    assert faults(verdict) == {"duplicates": 1}
    assert "[2, 4]" in verdict.examples["duplicates"][0]


def test_a_key_in_two_epochs_is_a_duplicate_unless_it_is_the_same_entry():
    history = good()
    for client in "ab":
        history.snapshot(client, "s", OTHER, 2)
        history.applied(client, "s", [entry(3, epoch=OTHER)])
    stand(history, 3, "a", "b", epoch=OTHER)
    assert faults(history.judge()) == {}
    for client in "ab":
        history.applied(client, "s", [entry(4, "key-3", epoch=OTHER)])
    stand(history, 4, "a", "b", epoch=OTHER)
    assert faults(history.judge()) == {"duplicates": 1}


def test_handlers_that_publish_several_entries_may():
    history = History(entries_per_message=2)
    history.snapshot("a", "s", EPOCH, 0)
    history.applied("a", "s", [entry(1, "key"), entry(2, "key")])
    history.acknowledged("s", "a", 1, "key", EPOCH, 2)
    stand(history, 2, "a")
    assert faults(history.judge()) == {}
    history.applied("a", "s", [entry(3, "key")])
    stand(history, 3, "a")
    assert faults(history.judge()) == {"duplicates": 1}


def test_entries_of_others_without_a_key_are_no_duplicates():
    history = good()
    for client in "ab":
        history.applied(client, "s", [Seen(EPOCH, 4, "id-4", None), Seen(EPOCH, 5, "id-5", None)])
    assert faults(judge(history, at=5)) == {}


def test_a_rejected_message_that_took_effect_was_not_aborted():
    history = good()
    history.rejected("s", "key-4")
    assert faults(judge(history)) == {}
    history.applied("a", "s", [entry(4)])
    history.applied("b", "s", [entry(4)])
    assert faults(judge(history, at=4)) == {"aborted": 1}


def test_a_skipped_entry_is_a_gap():
    history = good()
    history.applied("a", "s", [entry(4), entry(5), entry(6)])
    history.applied("b", "s", [entry(6)])
    verdict = judge(history, at=6)
    assert faults(verdict) == {"gaps": 2}
    assert "from s 3 to 6" in verdict.examples["gaps"][0]


def test_another_epoch_without_a_snapshot_is_a_gap():
    history = good()
    history.applied("a", "s", [entry(4, epoch=OTHER)])
    assert faults(judge(history)) == {"gaps": 1}


def test_entries_before_any_snapshot_are_a_gap():
    history = History()
    history.applied("a", "s", [entry(1)])
    assert history.judge().faults == {"gaps": 1}


@pytest.mark.parametrize("again", [3, 2])
def test_an_entry_again_or_backwards_is_a_reorder(again):
    history = good()
    history.applied("b", "s", [entry(again)])
    assert faults(judge(history)) == {"reorders": 1}


def test_a_message_that_overtakes_an_earlier_one_of_its_sender_breaks_fifo():
    history = History()
    history.snapshot("a", "s", EPOCH, 0)
    history.applied("a", "s", [entry(1), entry(2), entry(3)])
    for number, key in enumerate(["key-1", "key-3", "key-2"], 1):
        history.acknowledged("s", "p", number, key, EPOCH, int(key[-1]))
    stand(history, 3, "a")
    verdict = history.judge()
    assert faults(verdict) == {"fifo": 1}
    assert "message 3 of p" in verdict.examples["fifo"][0]


def test_order_between_senders_is_not_promised():
    history = History()
    history.snapshot("a", "s", EPOCH, 0)
    history.applied("a", "s", [entry(1), entry(2)])
    history.acknowledged("s", "p", 1, "key-2", EPOCH, 2)
    history.acknowledged("s", "q", 2, "key-1", EPOCH, 1)
    stand(history, 2, "a")
    assert faults(history.judge()) == {}


@pytest.mark.parametrize("odd", [Position(EPOCH, 2, 7), Position(EPOCH, 3, 8), Position(OTHER, 3, 7), None])
def test_a_client_that_ends_elsewhere_has_diverged(odd):
    history = good()
    stand(history, 3, "a", "b", "c")
    history.standing("d", "s", odd)
    verdict = history.judge()
    assert faults(verdict) == {"diverged": 1}
    assert verdict.examples["diverged"][0].startswith("d ")


def test_a_client_with_another_entry_at_a_seq_has_diverged_even_with_the_right_end():
    history = good()
    history.applied("a", "s", [entry(4)])
    history.applied("b", "s", [entry(4, id="another")])
    assert faults(judge(history, at=4)) == {"diverged": 1}


def test_a_message_without_an_answer_is_a_fault():
    history = good()
    history.unanswered("message 4 of a")
    assert faults(judge(history)) == {"unanswered": 1}


def test_a_run_that_proves_nothing_is_not_good():
    assert not History().judge().ok
    history = History()
    history.sent()
    history.acknowledged("s", "a", 1, "key", None, None)
    stand(history, 0, "a")
    verdict = history.judge()
    assert verdict.unproven == 1
    assert not verdict.faults
    assert not verdict.ok


def test_streams_are_judged_apart():
    history = good()
    history.snapshot("a", "t", EPOCH, 0)
    history.applied("a", "t", [entry(1), entry(2)])
    history.standing("a", "t", Position(EPOCH, 2, 1))
    assert faults(judge(history)) == {}


def test_examples_are_bounded_and_counts_are_not():
    history = good()
    for number in range(50):
        history.unanswered(f"message {number}")
    verdict = judge(history)
    assert verdict.faults["unanswered"] == 50
    assert len(verdict.examples["unanswered"]) == MAX_EXAMPLES
    assert verdict.faults.keys() <= FAULTS.keys()


# -- the storm itself ----------------------------------------------------------------------------------


@pytest.fixture
async def board() -> AsyncIterator[Board]:
    async with Board().running() as server:
        yield server


def plan(url: str, **changes: Any) -> Plan:
    options: dict[str, Any] = {
        "clients": 4,
        "streams": 1,
        "duration": 1.0,
        "cut_every": 0.1,
        "cut_share": 0.5,
        "rate": 20.0,
        "stream_format": "s",
        "maximum": 0.1,
        "connect_timeout": 2.0,
        "seed": 7,
    }
    return Plan(url, **{**options, **changes})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconnect_channels.storm.run.SETTLE", 0.0)


async def test_a_storm_over_a_good_server_finds_nothing(board):
    shown: list[Progress] = []
    report = await Storm(plan(board.url)).run(shown.append)
    verdict = report.verdict
    assert faults(verdict) == {}, verdict.examples
    assert verdict.sent == verdict.acked == verdict.proven == len(board.log) > 20
    assert report.counters["cuts"] > 5
    assert report.counters["reconnects"] > 5
    assert report.outages
    assert shown[-1].acked == verdict.acked
    assert report.as_dict()["ok"] is True
    json.dumps(report.as_dict())


async def test_a_server_that_acknowledges_without_writing_is_found_out(board, impatient):
    def forget(message: dict[str, Any]) -> str | None:
        if message["n"] % 5:
            return None
        return frame("ACK", id=message["id"], epoch="e", seq=1, result=1, duplicate=False)

    board.on_message = forget
    report = await Storm(plan(board.url)).run()
    assert report.verdict.unproven > 0  # an epoch that no one ever saw
    board.on_message = lambda message: frame(
        "ACK", id=message["id"], epoch=EPOCH_OF_BOARD, seq=len(board.log), result=1, duplicate=False
    )
    report = await Storm(plan(board.url)).run()
    assert report.verdict.faults["lost"] == report.verdict.acked > 0
    assert not report.verdict.ok


async def test_a_server_that_forgets_keys_is_found_out(board, impatient):
    def forget(message: dict[str, Any]) -> None:
        board.known.clear()
        board.drop_acks = int(message["n"] == 3)  # so that it is sent again

    board.on_message = forget
    report = await Storm(plan(board.url, cut_every=0)).run()
    assert report.verdict.faults["duplicates"] > 0
    assert not report.verdict.ok


async def test_a_server_that_answers_nothing_is_found_out(board, impatient):
    board.on_message = lambda message: "" if message["n"] == 2 else None
    report = await Storm(plan(board.url, cut_every=0, duration=0.5)).run()
    assert report.verdict.faults["unanswered"] > 0
    assert any(problem.startswith("not healed") for problem in report.problems)


async def test_a_storm_lasts_as_long_as_the_faults_that_are_given_to_it(board):
    storm = Storm(plan(board.url, duration=60))
    begun: list[int] = []

    async def fault() -> None:
        begun.append(len(board.log))
        async with asyncio.timeout(5):
            while len(board.log) < 10:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    report = await storm.run(during=fault)
    assert faults(report.verdict) == {}
    assert begun == [0]
    assert report.healed is not None
    assert report.healed < storm.plan.patience
    assert report.reset_at is None


async def test_clients_that_agree_before_an_acknowledged_entry_are_not_healed(board, impatient):
    board.on_message = lambda message: frame(
        "ACK", id=message["id"], epoch=EPOCH_OF_BOARD, seq=len(board.log) + 1, result=1, duplicate=False
    )
    report = await Storm(plan(board.url, duration=0.5, cut_every=0)).run()
    assert report.healed is None
    assert report.verdict.faults["lost"] == report.verdict.acked > 0


async def test_rejections_are_counted_and_prove_nothing(board, impatient):
    board.on_message = lambda message: frame(
        "REJECT", id=message["id"], code=422, reason="INVALID", retry=False
    )
    report = await Storm(plan(board.url, duration=0.5)).run()
    assert report.verdict.rejected == report.verdict.sent > 0
    assert not report.verdict.ok


def test_the_payload_template_is_filled_everywhere():
    assert fill({"a": ["{text}", 1, None], "b": {"c": "<{text}>"}}, "x") == {
        "a": ["x", 1, None],
        "b": {"c": "<x>"},
    }


def test_quantiles():
    assert quantile([], 0.5) is None
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(number) for number in range(100)], 0.99) == 99.0


# -- the command, against real servers -----------------------------------------------------------------


class Wall(DeltaSyncMixin, DedupMixin, AsyncJsonWebsocketConsumer):
    """Everybody may write on every wall."""

    stream_prefix = "wall:"

    def can_subscribe(self, stream: str) -> bool:
        return True


application = URLRouter([path("ws/wall/", Wall.as_asgi())])


def storm_command(url: str, *arguments: str) -> dict[str, Any]:
    output = StringIO()
    quick = ["--stream-format=wall:{n}", "--clients=8", "--streams=2", "--rate=4", "--cut-share=0.3"]
    call_command("reconnect_storm", url, "--json", *quick, *arguments, stdout=output)
    return dict(json.loads(output.getvalue()))


@pytest.mark.servers
@pytest.mark.faults
@pytest.mark.database
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("server", ["uvicorn", pytest.param("daphne", marks=pytest.mark.slow)])
def test_nothing_is_lost_on_a_real_server(server, tmp_path):
    with asgi_server("tests.test_storm:application", tmp_path / "log", server=server) as running:
        url = f"ws://127.0.0.1:{running.port}/ws/wall/"
        report = storm_command(url, "--duration=4", "--seed=1")
    assert report["ok"]
    assert report["proven"] == report["acked"] == report["sent"] > 50
    assert report["reconnects"] >= report["cuts"] > 5
    assert report["lost_noticed"] == 0


@pytest.mark.servers
@pytest.mark.faults
@pytest.mark.database
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_nothing_is_lost_when_the_server_is_killed_in_the_storm(tmp_path):
    with asgi_server("tests.test_storm:application", tmp_path / "log") as running:
        killer = threading.Timer(2.5, running.restart)
        killer.start()
        report = storm_command(f"ws://127.0.0.1:{running.port}/ws/wall/", "--duration=5", "--seed=2")
        killer.join()
    assert report["ok"]
    assert report["proven"] == report["sent"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://localhost/"], "ws:// or wss://"),
        (["ws://localhost/", "--payload={"], "--payload"),
        (["ws://localhost/", "--clients=0"], "at least one"),
        (["ws://localhost/", "--header=nonsense"], "header"),
        (["ws://localhost/", "--stream-format=a b"], "name of a stream"),
    ],
)
def test_bad_arguments_are_explained(arguments, message):
    with pytest.raises(CommandError, match=message):
        call_command("reconnect_storm", *arguments)


def test_a_fault_makes_the_command_fail(monkeypatch, capsys):
    async def bad(storm: Storm, watch: Any) -> Report:
        history = good()
        history.unanswered("message 4 of client-1")
        return Report(storm.plan, judge(history), {"cuts": 1}, [0.5], [1.5], 0.1, None, {"Closed: 4503": 2})

    monkeypatch.setattr(Storm, "run", bad)
    with pytest.raises(CommandError, match="1 unanswered") as failed:
        call_command("reconnect_storm", "ws://localhost/", "--cookie=a=b=c", "--seed=5")
    assert failed.value.returncode == 1
    printed = capsys.readouterr().out
    assert "unanswered: message 4 of client-1" in printed
    assert "0.500 / 0.500 s" in printed
    assert "2 x Closed: 4503" in printed
    assert "seed 5" in printed
