import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.proxy import HOST, FaultProxy


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    listener = socket.create_server((HOST, 0))
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture
def proxy(echo: int) -> Iterator[FaultProxy]:
    with FaultProxy(echo) as proxy:
        yield proxy


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout=5)


def say(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    return client.recv(100)


def test_forwards_and_counts(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        assert say(client, b"hello") == b"hello"
        assert proxy.open == 1
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""  # the end goes through, both ways
    assert proxy.counters.accepted == 1
    assert (proxy.counters.bytes_up, proxy.counters.bytes_down) == (5, 5)


def test_cut_resets_every_connection_and_welcomes_new_ones(proxy: FaultProxy) -> None:
    with connect(proxy) as first, connect(proxy) as second:
        assert say(first, b"1") == say(second, b"1")
        proxy.cut()
        for client in (first, second):
            with pytest.raises(ConnectionResetError):
                client.recv(100)
    assert proxy.counters.cut == 2
    assert proxy.open == 0
    with connect(proxy) as client:
        assert say(client, b"again") == b"again"


def test_pause_is_silent_and_resume_delivers_what_was_held(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        assert say(client, b"1") == b"1"
        proxy.pause()
        client.sendall(b"held")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(100)
        client.settimeout(5)
        proxy.resume()
        assert client.recv(100) == b"held"


def test_a_new_connection_to_a_paused_proxy_hangs(proxy: FaultProxy) -> None:
    proxy.pause()
    with connect(proxy) as client:
        client.sendall(b"held")
        proxy.resume()
        assert client.recv(100) == b"held"


def test_cut_ends_a_paused_connection(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        assert say(client, b"1") == b"1"
        proxy.pause()
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    assert proxy.open == 0


def test_refuse_and_accept_on_the_same_port(proxy: FaultProxy) -> None:
    port = proxy.port
    with connect(proxy) as client:
        assert say(client, b"1") == b"1"
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        assert say(client, b"2") == b"2"  # existing connections go on
        proxy.accept()
        with connect(proxy) as other:
            assert say(other, b"3") == b"3"
    assert proxy.port == port


def test_a_dead_server_resets_the_client(proxy: FaultProxy) -> None:
    proxy.upstream = HOST, 1  # nothing listens there
    # The reset may arrive while connect() still looks at its result.
    with pytest.raises(ConnectionResetError), connect(proxy) as client:
        client.recv(100)


def test_cuts_at_an_answer_once_and_the_server_said_it(proxy: FaultProxy) -> None:
    proxy.cut_at(b"done")
    with connect(proxy) as client, connect(proxy) as other:
        assert say(client, b"begin") == b"begin"
        with pytest.raises(ConnectionResetError):
            say(client, b"it is done")
        assert say(other, b"it is done") == b"it is done"
    assert proxy.counters.cut == 1
    assert proxy.counters.bytes_up >= len(b"beginit is done")


def test_moves_to_another_server(proxy: FaultProxy) -> None:
    with connect(proxy) as client:
        assert say(client, b"here") == b"here"
        with socket.create_server((HOST, 0)) as elsewhere:
            proxy.move(elsewhere.getsockname()[1])
            with pytest.raises(ConnectionResetError):
                say(client, b"here?")
            with connect(proxy) as moved:
                moved.sendall(b"there")
                connection, _ = elsewhere.accept()
                with connection:
                    assert connection.recv(100) == b"there"
