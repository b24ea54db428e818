"""Envoy, nginx and HAProxy, each as deploy/ configures it, before two nodes of the example."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from reconnect_channels.client import Client, Entries, Snapshot, State
from tests.servers import HOST

from .conftest import Site
from .fronts import ACTIVE, FRONTS

pytestmark = [pytest.mark.servers, pytest.mark.faults, pytest.mark.timeout(180)]

WITHIN = 20.0


# All of them, but only Envoy in `make test`.
each_kind = pytest.mark.parametrize(
    "kind",
    [pytest.param(name, marks=[] if name == "envoy" else [pytest.mark.slow]) for name in FRONTS],
    indirect=True,
)


async def until(reached: Callable[[], object], timeout: float = WITHIN) -> None:
    async with asyncio.timeout(timeout):
        while not reached():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class Page:
    """What a browser's page holds: the titles of a board's cards, in the order they came."""

    def __init__(self, client: Client, board: str) -> None:
        self.client, self.board = client, board
        self.titles: list[str] = []
        client.subscribe(board, on_snapshot=self._begin, on_entries=self._apply)

    def _begin(self, snapshot: Snapshot) -> None:
        self.titles = [card["title"] for card in snapshot.state["cards"]]

    def _apply(self, entries: Entries) -> None:
        for entry in entries.entries:
            if entry.payload["type"] == "card.created":
                self.titles.append(entry.payload["card"]["title"])

    def add(self, title: str) -> "asyncio.Task[object]":
        payload = {"op": "create", "column": "todo", "title": title}
        return asyncio.ensure_future(self.client.send(self.board, payload))


@asynccontextmanager
async def pages(site: Site, count: int) -> AsyncIterator[list[Page]]:
    """So many clients that both nodes have some; live."""
    async with AsyncExitStack() as stack:
        opened = [Page(await stack.enter_async_context(site.connect()), site.board) for _ in range(count)]
        for page in opened:
            await page.client.live(page.board, timeout=WITHIN)
        yield opened
        await asyncio.gather(*(page.client.close() for page in opened))  # Envoy takes a second for each


def nodes_of(opened: list[Page]) -> set[str]:
    return {page.client.node for page in opened}


async def test_sockets_reach_every_node_and_what_one_says_reaches_all(site: Site):
    page = f"http://{HOST}:{site.front.port}/boards/launch/"
    answer = await asyncio.to_thread(urllib.request.urlopen, page, timeout=5)
    with answer:
        assert answer.status == 200
    async with pages(site, 6) as opened:
        assert len(nodes_of(opened)) == 2
        for number, page in enumerate(opened):
            await page.add(f"from {number}")
        titles = [f"from {number}" for number in range(len(opened))]
        for page in opened:
            await until(lambda page=page: page.titles[-len(titles) :] == titles)


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("path", ["/metrics", "/reconnect/metrics"])
async def test_metrics_are_for_who_reaches_a_node_itself(site: Site, path: str):
    assert await asyncio.to_thread(status, site.front.port, path) == 404
    assert await asyncio.to_thread(status, site.nodes[0].port, path) == 200


@each_kind
async def test_a_killed_node_costs_nothing_and_the_next_attempt_finds_the_other(site: Site):
    async with pages(site, 6) as opened:
        site.nodes[0].kill()
        sending = [page.add(f"despite {number}") for number, page in enumerate(opened)]
        await asyncio.wait_for(asyncio.gather(*sending), WITHIN)
        for page in opened:
            await page.client.live(page.board, timeout=WITHIN)
        assert len(nodes_of(opened)) == 1
        # Before any health check: the handshake of a newcomer is tried on the next node at once.
        async with pages(site, 4) as newcomers:
            assert nodes_of(newcomers) == nodes_of(opened)
            assert all(page.client.metrics["attempts"] <= 1 for page in newcomers)
            for page in (*opened, *newcomers):
                await until(
                    lambda page=page: (
                        {f"despite {n}" for n in range(6)} <= set(page.titles)
                        and len(page.titles) == len(set(page.titles))
                    )
                )


@each_kind
async def test_a_draining_node_sends_its_sockets_to_the_other(site: Site, kind: str):
    async with pages(site, 6) as opened:
        drained = opened[0].client.node
        command = "reconnect_drain", "--node", drained, "--window", "1", "--wait", "20"
        async with asyncio.timeout(WITHIN):
            while drained not in await asyncio.to_thread(site.manage, "reconnect_drain"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)  # its row is written behind
        await asyncio.to_thread(site.manage, *command)
        sending = [page.add(f"while draining {number}") for number, page in enumerate(opened)]
        await asyncio.wait_for(asyncio.gather(*sending), WITHIN)
        await until(lambda: all(page.client.state is State.CONNECTED for page in opened))
        await until(lambda: drained not in nodes_of(opened))
        if kind in ACTIVE:
            async with pages(site, 4) as newcomers:
                assert drained not in nodes_of(newcomers)


@each_kind
async def test_a_reload_of_the_load_balancer_costs_nothing(site: Site):
    async with pages(site, 4) as opened:
        await asyncio.to_thread(site.front.reload)
        for number in range(40):  # 2 s, and the old workers are cut after 1
            await asyncio.wait_for(opened[number % 4].add(f"reload {number}"), WITHIN)
            await asyncio.sleep(0.05)
        titles = [f"reload {number}" for number in range(40)]
        for page in opened:
            await until(lambda page=page: page.titles[-40:] == titles)
