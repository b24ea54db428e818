"""The servers of the tests really run."""

from pathlib import Path

import pytest

from tests.servers import Server, asgi_server


@pytest.mark.servers
def test_postgres_survives_a_kill_with_its_commits(postgres_server: Server) -> None:
    import psycopg

    from tests.services import postgres_url

    url = postgres_url(postgres_server)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (x text)")
        connection.execute("INSERT INTO kept VALUES ('é')")
    postgres_server.restart()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT x FROM kept").fetchall() == [("é",)]
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)


@pytest.mark.servers
@pytest.mark.redis
def test_redis_forgets_on_a_restart(redis_server: Server) -> None:
    from redis import Redis

    with Redis(port=redis_server.port) as client:
        client.set("x", 1)
        redis_server.restart()
        assert client.get("x") is None


@pytest.mark.servers
@pytest.mark.parametrize("kind", [pytest.param("daphne", marks=pytest.mark.slow), "uvicorn"])
def test_asgi_server_is_killed_and_restarted_on_its_port(kind: str, tmp_path: Path) -> None:
    with asgi_server("tests.asgi:application", tmp_path / "log", server=kind) as server:
        server.kill()
        assert not server.answers()
        server.start()
        assert server.answers()


@pytest.mark.servers
def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    server = asgi_server("tests.nowhere:application", tmp_path / "log")
    with pytest.raises(RuntimeError, match="nowhere"):
        server.start()
