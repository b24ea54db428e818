"""The Redis servers of logs, of dedup and of the channel layer: only those that are configured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from channels.layers import channel_layers

from ..conf import settings
from ..dedup.answers import answers
from ..log import all_logs
from .finding import Finding, Plan, failure, ok, told, warning

OLDEST = (6, 2)
PINGS = 5
SLOW = 0.02  # seconds a round trip
FULL = 0.9  # of `maxmemory`
TIMEOUT = 3.0  # seconds
PUBSUB = "channels_redis.pubsub"


class Use(NamedTuple):
    """What a Redis is for."""

    name: str
    endpoint: Any
    keeps: bool = False  # it is the truth: what it forgets is lost
    scripts: bool = True


def probe(plan: Plan) -> Iterator[Finding]:
    uses = list(_uses())
    if not uses:
        yield ok("configured", "No Redis is configured.")
    for use in uses:
        yield from _use(use)


def _uses() -> Iterator[Use]:
    for log in all_logs():
        if (endpoint := getattr(log, "endpoint", None)) is not None:
            yield Use("the log", endpoint, keeps=True)
    if (known := answers()) is not None:
        yield Use("dedup", known.endpoint)
    given: Mapping[str, Any] = channel_layers.configs.get(settings().CHANNEL_LAYER, {})
    backend = str(given.get("BACKEND", ""))
    if not backend.startswith("channels_redis."):
        return
    from channels_redis.utils import decode_hosts

    for host in decode_hosts(given.get("CONFIG", {}).get("hosts")):
        yield Use("the channel layer", _endpoint(host), scripts=not backend.startswith(PUBSUB))


def _endpoint(host: Mapping[str, Any]) -> Any:
    """What one of the layer's `hosts` names."""
    from ..log.endpoint import Endpoint  # needs redis-py

    options = dict(host)
    location: Any = options.pop("address", None)
    if "master_name" in options:
        location = {name: options.pop(name) for name in ("sentinels", "master_name")}
    elif location is None:
        location = (
            f"redis://{options.pop('host', 'localhost')}:{options.pop('port', 6379)}/{options.pop('db', 0)}"
        )
    return Endpoint(location, timeout=TIMEOUT, options=options)


def _use(use: Use) -> Iterator[Finding]:
    from redis.exceptions import RedisError

    try:
        nodes = dict(use.endpoint.infos())
        for node, info in nodes.items():
            yield from judge(use, f"The Redis of {use.name}" + (f" ({node})" if len(nodes) > 1 else ""), info)
        yield from _answers(use)
    except (RedisError, OSError) as error:
        what = {
            True: "its streams stand still",
            False: "other processes hear of entries late, by the head check",
        }
        consequence = "retries cost a transaction each" if use.name == "dedup" else what[use.keeps]
        yield failure(
            "connection",
            f"The Redis of {use.name} doesn't answer, so {consequence}: {told(error)}",
            "Start it; check its address, its password and the way there.",
        )


def judge(use: Use, name: str, info: Mapping[str, Any]) -> Iterator[Finding]:
    """What INFO tells of a server.

    :param name: how the server is called in what is said.
    :param info: of redis-py.
    """
    kind = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        yield failure(
            "version", f"{name} is {kind} {version}: too old.", "Use Redis or Valkey, 6.2 or newer."
        )
    else:
        yield ok("version", f"{name} is {kind} {version}.")
    if info.get("role", "master") != "master":
        yield failure(
            "role", f"{name} is a replica: it refuses writes.", "Name the master, or the Sentinels."
        )
    yield from (_keeps if use.keeps else _passes_on)(name, info)
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    text = (
        f"{name} uses {used / 2**20:.1f} MiB of {f'{limit / 2**20:.0f} MiB' if limit else 'unlimited memory'}"
    )
    if limit and used > FULL * limit:
        yield warning(
            "memory", f"{text}: soon it refuses writes, or evicts.", "Raise maxmemory, trim the logs."
        )
    else:
        yield ok("memory", f"{text}.")


def _keeps(name: str, info: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the server of a log forgets nothing."""
    from ..log.durability import weaknesses

    found = {each.name: each for each in weaknesses(info)}
    for what, say, good in (
        ("eviction", failure, "evicts nothing."),
        ("persistence", warning, "writes an append-only file."),
    ):
        weakness = found.get(what)
        yield say(what, f"{name} {weakness.text}", weakness.hint) if weakness else ok(what, f"{name} {good}")
    for key in ("aof_last_write_status", "rdb_last_bgsave_status"):
        if info.get(key, "ok") != "ok":
            text = f"{name} couldn't write its file ({key}: {info[key]})."
            yield failure("persistence", text, "Is its disk full?")


def _passes_on(name: str, info: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether a server that needs to keep nothing for long keeps it for a moment."""
    policy = info.get("maxmemory_policy", "noeviction")
    if int(info.get("maxmemory", 0)) and policy.startswith("allkeys-"):
        yield warning(
            "eviction",
            f"{name} has maxmemory-policy {policy}: when memory is full it forgets what it was just told.",
            "maxmemory-policy noeviction, or a volatile- one.",
        )
    else:
        yield ok("eviction", f"{name} evicts nothing that is new.")


def _answers(use: Use) -> Iterator[Finding]:
    """What only asking shows: settings, speed, scripts."""
    from redis.cluster import RedisCluster
    from redis.exceptions import RedisError, ResponseError

    from ..log.endpoint import Script

    client, name = use.endpoint.client, f"The Redis of {use.name}"
    if client.info().get("cluster_enabled") and not isinstance(client, RedisCluster):
        text = f"{name} is a node of a cluster, but the settings take it for a server of its own."
        yield failure("cluster", text, "CLUSTER = True, and the nodes as LOCATION (the layer can't use one).")
    if use.keeps and not isinstance(client, RedisCluster):
        try:
            known = client.config_get("appendfsync")
        except RedisError:  # a hosted one keeps CONFIG to itself
            known = {}
        if known.get("appendfsync") == "no":
            yield warning(
                "appendfsync",
                f"{name} leaves to the kernel when its file reaches the disk: a crash loses half a minute.",
                "appendfsync everysec.",
            )
    took = []
    for _ in range(PINGS):
        began = time.perf_counter()
        client.ping()
        took.append(time.perf_counter() - began)
    middle = statistics.median(took)
    if middle > SLOW:
        yield warning(
            "latency",
            f"{name} takes {middle * 1000:.1f} ms to answer: every append and announcement waits for it.",
            "Put it near the nodes; look for slow commands (SLOWLOG GET).",
        )
    else:
        yield ok("latency", f"{name} answers in {middle * 1000:.1f} ms.")
    if use.scripts:
        try:
            use.endpoint.run(Script("return 1"), ["reconnect:doctor"])
        except ResponseError as error:
            yield failure(
                "scripts",
                f"{name} runs no scripts: {told(error)}",
                "Allow EVAL and EVALSHA (ACL: +@scripting); in a cluster, say so with CLUSTER.",
            )
        else:
            yield ok("scripts", f"{name} runs scripts.")
