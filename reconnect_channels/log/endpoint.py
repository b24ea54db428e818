"""Where a RedisLog's data lies: one Redis or Valkey, a master behind Sentinel, or a cluster."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import msgspec
from django.core.exceptions import ImproperlyConfigured

try:
    import redis
    from redis.backoff import ExponentialBackoff
    from redis.cluster import ClusterNode, RedisCluster
    from redis.connection import parse_url
    from redis.retry import Retry
    from redis.sentinel import Sentinel
except ImportError as error:
    raise ImproperlyConfigured('RedisLog needs redis-py: pip install "reconnect-channels[redis]"') from error

Keys = Sequence[str]
PIPELINE = 500  # scripts sent before an answer is read


class Script:
    """A Lua script that is sent once, and then named by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Endpoint:
    """Runs scripts, from any thread, on connections that are made when they are needed.

    Nothing here connects before the first call, so that settings can be checked while Redis is away.

    :param location: a URL (`redis://`, `rediss://`, `unix://`); with `cluster` several, the nodes to begin
        with; or `{"sentinels": [(host, port), …], "master_name": …}` with what else redis-py shall know.
    :param timeout: seconds to wait for a connection, and for an answer.
    :param connections: at most so many at once (in a cluster: to each node); more callers wait.
    :param options: further arguments for redis-py (certificates, `client_name`…).
    :raises ImproperlyConfigured: what can't be a location.
    """

    def __init__(
        self,
        location: Any,
        *,
        cluster: bool = False,
        timeout: float = 0.5,
        connections: int = 32,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._location = location
        self._cluster = cluster
        self._timeout = timeout
        self._turns = threading.BoundedSemaphore(connections)
        self._lock = threading.Lock()
        self._options = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "socket_keepalive": True,
            "max_connections": connections,
            # A connection that an idle firewall or a restart has cut is made anew. What timed out isn't
            # sent again behind our back: the caller's time is up.
            "retry": Retry(ExponentialBackoff(cap=0.1, base=0.01), 1, (redis.ConnectionError,)),
            **(options or {}),
        }
        _check(location, cluster)

    @property
    def client(self) -> Any:
        """The redis-py client behind it (`Redis` or `RedisCluster`), for what needs commands of its own."""
        with self._lock:  # a cluster asks for its slots: once
            return self._client

    @cached_property
    def _client(self) -> Any:
        if isinstance(self._location, Mapping):
            given = dict(self._location)
            sentinels, name = given.pop("sentinels"), given.pop("master_name")
            watched = Sentinel(sentinels, **{**self._options, **given})  # type: ignore[no-untyped-call]
            return watched.master_for(name)  # type: ignore[no-untyped-call]
        if not self._cluster:
            return redis.Redis.from_url(self._location, **self._options)
        urls = [self._location] if isinstance(self._location, str) else list(self._location)
        parts = [parse_url(url) for url in urls]  # type: ignore[no-untyped-call]
        node: Any = ClusterNode
        nodes = [node(at.get("host", "localhost"), at.get("port", 6379)) for at in parts]
        retry = Retry(ExponentialBackoff(cap=0.1, base=0.01), 3)
        return RedisCluster(url=urls[0], startup_nodes=nodes, **{**self._options, "retry": retry})

    @contextmanager
    def _turn(self) -> Iterator[Any]:
        if not self._turns.acquire(timeout=self._timeout):
            raise redis.ConnectionError("Every connection to Redis is in use")
        try:
            yield self.client
        finally:
            self._turns.release()

    def run(self, script: Script, keys: Keys, *args: str | int) -> Any:
        """What a script returns for keys of one slot; None for nil.

        :raises redis.RedisError: it is away, slow, or refuses; whether the script ran isn't known.
        """
        with self._turn() as client:
            try:
                answer = client.evalsha(script.sha, len(keys), *keys, *args)
            except redis.exceptions.NoScriptError:  # a restart, a failover, SCRIPT FLUSH
                answer = client.eval(script.text, len(keys), *keys, *args)
        return _decoded(answer)

    def run_many(self, script: Script, calls: Sequence[tuple[Keys, Sequence[str | int]]]) -> list[Any]:
        """What a reading script returns for each of many keys and arguments, in few round trips."""
        answers: list[Any] = []
        for start in range(0, len(calls), PIPELINE):
            with self._turn() as client:
                pipeline = client.pipeline() if self._cluster else client.pipeline(transaction=False)
                for keys, args in calls[start : start + PIPELINE]:
                    pipeline.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
                answers += pipeline.execute(raise_on_error=False)
        for i, answer in enumerate(answers):
            if isinstance(answer, redis.exceptions.NoScriptError):
                answers[i] = self.run(script, calls[i][0], *calls[i][1])
            elif isinstance(answer, Exception):
                raise answer
            else:
                answers[i] = _decoded(answer)
        return answers

    def scan(self, pattern: str) -> Iterator[str]:
        """Every key that matches, of all nodes; one may come twice."""
        for key in self.client.scan_iter(match=pattern, count=PIPELINE):
            yield key.decode()

    def infos(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each master's INFO, with its name."""
        with self._turn() as client:
            if self._cluster:
                yield from client.info(target_nodes=RedisCluster.PRIMARIES).items()
            else:
                yield "Redis", client.info()

    def close(self) -> None:
        """Closes the connections; the next call makes others."""
        with self._lock:
            if "_client" in self.__dict__:
                self.__dict__.pop("_client").close()


def _decoded(answer: Any) -> Any:
    return msgspec.msgpack.decode(answer) if isinstance(answer, bytes) else answer


def _check(location: Any, cluster: bool) -> None:
    if isinstance(location, Mapping):
        if cluster:
            raise ImproperlyConfigured("RedisLog: LOCATION is a Sentinel's, so CLUSTER can't be True")
        missing = {"sentinels", "master_name"} - set(location)
        if missing:
            raise ImproperlyConfigured(f"RedisLog: LOCATION lacks {', '.join(sorted(missing))}")
        pairs = location["sentinels"]
        if not pairs or not all(isinstance(pair, Sequence) and len(pair) == 2 for pair in pairs):
            raise ImproperlyConfigured('RedisLog: "sentinels" is a list of (host, port)')
        return
    if not isinstance(location, str):
        if not isinstance(location, Sequence) or not location:
            raise ImproperlyConfigured("RedisLog: LOCATION is a URL, a list of URLs, or a dict for Sentinel")
        if not cluster:
            raise ImproperlyConfigured(
                "RedisLog: several URLs are the nodes of a cluster: set CLUSTER to True"
            )
    for url in [location] if isinstance(location, str) else location:
        try:
            at = parse_url(url)  # type: ignore[no-untyped-call]
        except (ValueError, AttributeError, TypeError) as error:
            raise ImproperlyConfigured(f"RedisLog: {url!r} is not a URL of Redis: {error}") from error
        if cluster and at.get("db"):
            raise ImproperlyConfigured(f"RedisLog: a cluster has only database 0, not {at['db']}")
