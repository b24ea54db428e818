"""RedisLog against the list that DatabaseLog is held against, with what only Redis does: repeats, losses."""

import uuid

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from reconnect_channels.log.redis import RedisLog

from .test_log_machine import LogMachine, sizes

pytestmark = [pytest.mark.django_db, pytest.mark.database, pytest.mark.redis]


class RedisMachine(LogMachine):
    """A transaction that is rolled back leaves nothing; here it is Redis that comes back as it was before."""

    log: RedisLog

    @initialize()
    def begin(self):
        self.stream = f"s:{uuid.uuid4()}"
        self.born()

    @rule(size=sizes, clock=st.integers(0, 50))
    def append_in_vain(self, size, clock):
        client, keys = self.log.endpoint.client, self.log.keys(self.stream)
        kept = [client.dump(key) for key in keys]
        self.appended(size, clock)
        for key, value in zip(keys, kept, strict=True):
            client.delete(key)
            if value is not None:
                client.restore(key, 0, value)
        self.lost.append(self.newest)

    @rule(share=st.floats(0, 1), size=sizes, fresh=st.integers(0, 2), clock=st.integers(0, 50))
    def append_again(self, share, size, fresh, clock):
        """Those that are there are answered with their places, whatever is new comes after all of them."""
        first = max(int(self.head * share), self.floor - 1)
        repeated = self.drafts[first : first + size]
        known = self.log.read(self.stream, self.position(first), len(repeated)).entries if repeated else []
        head, drafts = self.head, self.new(fresh)
        entries = self.log.append(
            self.stream, [draft._replace(text='"x"') for draft in repeated] + drafts, clock
        )
        assert entries[: len(repeated)] == known
        assert [entry.seq for entry in entries[len(repeated) :]] == [head + 1 + i for i in range(fresh)]
        if fresh:
            self.clock = max(self.clock, clock) + fresh
        self.drafts += drafts

    @rule()
    def ask_for_what_exists(self):
        ids = [draft.id for draft in self.drafts]
        found = self.log.existing(self.stream, [*ids, str(uuid.uuid4())])
        assert {entry.id: entry.seq for entry in found.values()} == {
            entry_id: seq for seq, entry_id in enumerate(ids, 1) if seq >= self.floor
        }

    @rule(kinds=st.sampled_from([("meta",), ("meta", "ids"), ("meta", "stream"), ("meta", "stream", "ids")]))
    def lose_the_life(self, kinds):
        """What is left of it is forgotten, too."""
        old = self.epochs[-1]
        self.log.endpoint.client.delete(*self.log.keys(self.stream, *kinds))
        self.born()
        assert self.epochs[-1] != old


@pytest.fixture(params=["one", "cluster"])
def location(request):
    if request.param == "one":
        return {"location": request.getfixturevalue("redis_url")}
    return {"location": request.getfixturevalue("redis_cluster_urls"), "cluster": True}


def test_the_log_in_redis_is_a_list_with_proofs(location):
    log = RedisLog(**location, key_prefix=f"{uuid.uuid4()}:")

    class Machine(RedisMachine):
        pass

    Machine.log = log
    try:
        examples = settings.default.max_examples // 2
        run_state_machine_as_test(Machine, settings=settings(max_examples=examples, stateful_step_count=25))
    finally:
        log.endpoint.close()
