"""GET /reconnect/streams/<name>/delta: the recovery decision of design 5.5 over HTTP (5.6)."""

import json

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse

from reconnect_channels import publish, publish_many
from reconnect_channels.log import log_for
from reconnect_channels.log.database import DatabaseLog
from reconnect_channels.protocol.position import Position

from . import consumers  # noqa: F401 - registers them

pytestmark = [pytest.mark.django_db, pytest.mark.database]

OPEN = "http-open:1"
BOARD = "http-board:public"


@pytest.fixture
def get(client):
    """Asks for a stream from a position, `None`, or raw query parameters."""

    def get(name, position=None, *, status=200, **query):
        if position is not None:
            query = {**position.wire(), **query}
        response = client.get(reverse("reconnect_channels:delta", args=[name]), query)
        assert response.status_code == status, response.content
        assert response["Content-Type"] == "application/json"
        assert response["Cache-Control"] == "private, no-store"
        return json.loads(response.content)

    return get


@pytest.fixture
def history():
    """Positions 0 to 10 of both streams' entries, of which 1 to 3 were trimmed, by name."""
    positions = {}
    for name in (OPEN, BOARD):
        entries = publish_many([(name, {"n": n}) for n in range(1, 11)])
        positions[name] = [Position(entries[0].epoch, 0, 0), *(entry.position for entry in entries)]
        log_for(name).trim(name, 4)
    return positions


# -- the rows of 5.5 -------------------------------------------------------------------------------------


def test_a_right_position_is_answered_with_the_entries_after_it(get, history):
    frame = get(OPEN, history[OPEN][7])
    assert {key: frame[key] for key in ("type", "stream", "epoch", "from", "to", "checksum", "complete")} == {
        "type": "SYNC_DELTA",
        "stream": OPEN,
        "epoch": history[OPEN][0].epoch,
        "from": 7,
        "to": 10,
        "checksum": history[OPEN][10].checksum,
        "complete": True,
    }
    assert [(entry["seq"], entry["payload"]) for entry in frame["payload"]] == [
        (8, {"n": 8}),
        (9, {"n": 9}),
        (10, {"n": 10}),
    ]
    assert set(frame["payload"][0]) == {"seq", "id", "checksum", "clock", "key", "payload"}


@pytest.mark.parametrize("seq", [3, 4, 9])
def test_a_delta_begins_anywhere_from_before_the_floor(get, history, seq):
    frame = get(BOARD, history[BOARD][seq])
    assert [entry["seq"] for entry in frame["payload"]] == list(range(seq + 1, 11))


def test_the_head_is_current(get, history):
    frame = get(OPEN, history[OPEN][10])
    assert (frame["type"], frame["from"], frame["to"], frame["payload"], frame["complete"]) == (
        "SYNC_DELTA",
        10,
        10,
        [],
        True,
    )


MALFORMED = {
    "epoch only": {"epoch": "e"},
    "no epoch": {"last_seq_id": "1", "checksum": "1"},
    "an empty epoch": {"epoch": "", "last_seq_id": "1", "checksum": "1"},
    "a long epoch": {"epoch": "e" * 65, "last_seq_id": "1", "checksum": "1"},
    "negative": {"epoch": "e", "last_seq_id": "-1", "checksum": "1"},
    "above 2^53": {"epoch": "e", "last_seq_id": str(2**53 + 1), "checksum": "1"},
    "a float": {"epoch": "e", "last_seq_id": "1.5", "checksum": "1"},
    "an exponent": {"epoch": "e", "last_seq_id": "1e3", "checksum": "1"},
    "other digits": {"epoch": "e", "last_seq_id": "١", "checksum": "1"},
    "5000 digits": {"epoch": "e", "last_seq_id": "9" * 5_000, "checksum": "1"},
    "text": {"epoch": "e", "last_seq_id": "x", "checksum": "1"},
    "a space": {"epoch": "e", "last_seq_id": " 1", "checksum": "1"},
    "a checksum above the modulus": {"epoch": "e", "last_seq_id": "1", "checksum": str(2**31 - 1)},
    "no checksum": {"epoch": "e", "last_seq_id": "1"},
}


@pytest.mark.parametrize("query", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_position_is_invalid(get, history, query):
    frame = get(OPEN, status=400, **query)
    assert frame["detail"]
    del frame["detail"]
    assert frame == {"type": "ERROR", "code": 400, "reason": "INVALID_SEQ", "streams": [OPEN]}


def test_a_position_above_the_head_is_invalid(get, history):
    frame = get(OPEN, history[OPEN][10]._replace(seq=11), status=400)
    assert (frame["reason"], frame["streams"]) == ("INVALID_SEQ", [OPEN])


@pytest.mark.parametrize(
    ("seq", "change", "reason"),
    [
        pytest.param(10, {"epoch": "other"}, "epoch", id="another epoch"),
        pytest.param(10, {"epoch": "other", "seq": 99}, "epoch", id="another epoch above the head"),
        pytest.param(2, {}, "trimmed", id="below the floor"),
        pytest.param(3, {"checksum": 1}, "diverged", id="wrong before the floor"),
        pytest.param(7, {"checksum": 1}, "diverged", id="wrong checksum"),
        pytest.param(10, {"checksum": 1}, "diverged", id="wrong at the head"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_continued_is_answered_with_a_snapshot(get, history, seq, change, reason):
    frame = get(BOARD, history[BOARD][seq]._replace(**change))
    assert frame == {
        "type": "SYNC_SNAPSHOT",
        "stream": BOARD,
        "epoch": history[BOARD][10].epoch,
        "seq": 10,
        "checksum": history[BOARD][10].checksum,
        "reason": reason,
        "exact": True,
        "partial": False,
        "payload": {"entries": 7},
    }
    frame = get(OPEN, history[OPEN][seq]._replace(**change))
    assert (frame["reason"], frame["seq"], frame["payload"]) == (reason, 3, None)


def test_a_gap_that_is_too_large_is_answered_with_a_snapshot(get, history, settings):
    settings.RECONNECT_CHANNELS = {"MAX_DELTA": 5}
    assert get(BOARD, history[BOARD][5])["type"] == "SYNC_DELTA"
    frame = get(BOARD, history[BOARD][4])
    assert (frame["type"], frame["reason"], frame["seq"]) == ("SYNC_SNAPSHOT", "gap", 10)


# -- nothing held yet ------------------------------------------------------------


def test_a_newcomer_gets_the_snapshot(get, history):
    frame = get(BOARD)
    assert (frame["type"], frame["reason"], frame["seq"], frame["payload"]) == (
        "SYNC_SNAPSHOT",
        "new",
        10,
        {"entries": 7},
    )


def test_parameters_that_say_nothing_of_a_position_are_no_position(get, history):
    assert get(BOARD, _="1732454400")["reason"] == "new"


def test_a_newcomer_to_a_stream_without_snapshots_begins_with_its_entries(get):
    entry = publish(OPEN, 1)
    frame = get(OPEN)
    assert (frame["type"], frame["seq"], frame["payload"], frame["partial"], frame["exact"]) == (
        "SYNC_SNAPSHOT",
        0,
        None,
        False,
        True,
    )
    delta = get(OPEN, Position(frame["epoch"], frame["seq"], frame["checksum"]))
    assert [e["id"] for e in delta["payload"]] == [entry.id]


def test_a_newcomer_to_a_trimmed_stream_without_snapshots_gets_what_is_kept(get, history):
    frame = get(OPEN)
    assert (frame["seq"], frame["payload"], frame["partial"]) == (3, None, True)
    delta = get(OPEN, Position(frame["epoch"], frame["seq"], frame["checksum"]))
    assert [e["seq"] for e in delta["payload"]] == [4, 5, 6, 7, 8, 9, 10]


def test_a_newcomer_to_a_trimmed_stream_without_snapshots_gets_its_last_100_entries_at_most(get, history):
    publish_many([(OPEN, n) for n in range(150)])
    frame = get(OPEN)
    assert (frame["seq"], frame["partial"]) == (60, True)
    delta = get(OPEN, Position(frame["epoch"], frame["seq"], frame["checksum"]))
    assert (len(delta["payload"]), delta["to"], delta["complete"]) == (100, 160, True)


def test_an_unknown_stream_of_a_known_prefix_is_empty(get):
    frame = get("http-open:new")
    assert (frame["type"], frame["seq"], frame["payload"]) == ("SYNC_SNAPSHOT", 0, None)
    assert get("http-open:new", Position(frame["epoch"], 0, 0))["complete"] is True


# -- pages ------------------------------------------------------------


def follow(get, name):
    """Asks until complete, as a client does; returns the entries and the number of pages."""
    frame = get(name)
    position = Position(frame["epoch"], frame["seq"], frame["checksum"])
    entries, pages = [], 0
    while True:
        frame = get(name, position)
        assert frame["type"] == "SYNC_DELTA", frame
        pages += 1
        for entry in frame["payload"]:
            position = position.then(entry["id"])
            assert (entry["seq"], entry["checksum"]) == position[1:]
        assert position == (frame["epoch"], frame["to"], frame["checksum"])
        entries += frame["payload"]
        if frame["complete"]:
            return entries, pages


def test_pages_lead_to_the_head(get):
    publish_many([(OPEN, n) for n in range(1_001)])
    entries, pages = follow(get, OPEN)
    assert ([entry["payload"] for entry in entries], pages) == (list(range(1_001)), 3)


def test_pages_are_bounded_in_bytes(get):
    publish_many([(OPEN, "x" * 60_000) for _ in range(9)])
    entries, pages = follow(get, OPEN)
    assert (len(entries), pages) == (9, 3)


def test_a_stream_without_snapshots_is_read_to_its_end_however_long_it_is(get, settings):
    """There is nothing to jump to: a snapshot of nothing would be asked for again and again."""
    settings.RECONNECT_CHANNELS = {"MAX_DELTA": 5}
    publish_many([(OPEN, n) for n in range(20)])
    entries, _ = follow(get, OPEN)
    assert len(entries) == 20


# -- snapshots ------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_async_snapshot_is_exact_when_nothing_came_between(get, client):
    client.force_login(get_user_model().objects.create(username="ada"))
    entry = publish("http-members:ada", 1)
    frame = get("http-members:ada")
    assert (frame["seq"], frame["checksum"], frame["exact"]) == (1, entry.checksum, True)
    assert frame["payload"] == "x" * 200


def test_a_snapshot_that_is_too_large_is_refused(get, client, settings):
    settings.RECONNECT_CHANNELS = {"MAX_SNAPSHOT": 10}
    publish(BOARD, 1)
    frame = get(BOARD, status=413)
    assert (frame["type"], frame["reason"], frame["streams"]) == ("ERROR", "SNAPSHOT_SIZE", [BOARD])


# -- failures ------------------------------------------------------------


@pytest.mark.parametrize("broken", ["heads", "read", "checksum_at"])
def test_a_log_that_fails_is_unavailable(get, client, history, monkeypatch, caplog, broken):
    def fail(*args):
        raise OSError("no database")

    monkeypatch.setattr(DatabaseLog, broken, fail)
    frame = get(OPEN, history[OPEN][7], status=503)
    assert (frame["type"], frame["code"], frame["reason"], frame["streams"]) == (
        "ERROR",
        503,
        "UNAVAILABLE",
        [OPEN],
    )
    response = client.get(f"/reconnect/streams/{OPEN}/delta", history[OPEN][7].wire())
    assert int(response["Retry-After"]) > 0
    assert "no database" in caplog.text


def test_a_trim_between_the_decision_and_the_page_is_answered_with_a_snapshot(get, history, monkeypatch):
    read = DatabaseLog.read

    def late(log, stream, after, limit):
        log.trim(stream, 9)
        return read(log, stream, after, limit)

    monkeypatch.setattr(DatabaseLog, "read", late)
    frame = get(OPEN, history[OPEN][4])
    assert (frame["type"], frame["reason"], frame["seq"]) == ("SYNC_SNAPSHOT", "trimmed", 8)
    assert frame["checksum"] == history[OPEN][8].checksum


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_only_get_is_answered(client, method):
    response = getattr(client, method)(reverse("reconnect_channels:delta", args=[OPEN]))
    assert response.status_code == 405
