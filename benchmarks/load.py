"""The load, in a process of its own: raw sockets that read frame headers and little else.

    python -m benchmarks.load PORT SERVER_PID SOCKETS SECONDS stock|ours|bare

Publishes the next entry only when all sockets have the one before, so that nothing is merged into one
frame and each delivery is a frame. Prints one JSON object. Plain sockets under epoll and no event loop:
the load shares the machine's memory and cores with the server, and what it takes shows in the server's
figures.
"""

import json
import os
import select
import socket
import struct
import sys
import time
import urllib.request

import psutil

HOST = "127.0.0.1"
WARM_UP = 3
TIMEOUT = 30.0
PAUSE = 0.000_5  # s; a load asleep in epoll would be woken by each send, at the cost of the server
ACK_ENTRIES = 250  # as WELCOME says
ACK_BYTES = 192 * 1024
ROOM = memoryview(bytearray(262_144))
HANDSHAKE = (
    "GET /ws/ HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)
HELLO = {"type": "HELLO", "protocol": "reconnect.v1", "client_id": "", "streams": {"bench:1": None}}


def client_frame(text: str) -> bytes:
    """A text frame; the mask is zero, which leaves the payload as it is."""
    payload = text.encode()
    assert len(payload) < 65536
    if len(payload) < 126:
        return struct.pack("!BB4x", 0x81, 0x80 | len(payload)) + payload
    return struct.pack("!BBH4x", 0x81, 0x80 | 126, len(payload)) + payload


class Reader:
    """One socket: counts frames that carry entries."""

    def __init__(self, number: int, port: int, ours: bool) -> None:
        self.ours = ours
        self.ready = False
        self.frames = 0
        self.entries = 0
        self.buffer = b""
        self.last = b""
        self.unacked = [0, 0]
        self.socket = socket.create_connection((HOST, port), timeout=TIMEOUT)
        self.open(f"bench-{number}", f"{HOST}:{port}")

    def open(self, client_id: str, host: str) -> None:
        more = "Sec-WebSocket-Protocol: reconnect.v1\r\n" if self.ours else ""
        self.socket.sendall(HANDSHAKE.format(host=host, more=more).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.received()
        head, _, rest = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(head.decode())
        if self.ours:
            self.socket.sendall(client_frame(json.dumps({**HELLO, "client_id": client_id})))
        else:
            self.ready = True
        self.read(rest)
        while not self.ready:
            self.read(self.received())

    def received(self) -> bytes:
        size = self.socket.recv_into(ROOM)
        if not size:
            raise RuntimeError(f"the server closed the connection after {self.last[-300:]!r}")
        return ROOM[:size].tobytes()

    def read(self, data: bytes) -> int:
        """How many entries are in it."""
        buffer = self.buffer + data if self.buffer else data
        before, at, end = self.entries, 0, len(buffer)
        while end - at >= 2:
            size, body = buffer[at + 1] & 0x7F, at + 2
            if size == 126:
                body = at + 4
                size = int.from_bytes(buffer[at + 2 : at + 4], "big")
            elif size == 127:
                body = at + 10
                size = int.from_bytes(buffer[at + 2 : at + 10], "big")
            if end < body or end - body < size:
                break
            self.frame(buffer[body : body + size])
            at = body + size
        self.buffer = buffer[at:]
        return self.entries - before

    def frame(self, payload: bytes) -> None:
        entries = 1
        if self.ours:
            if not payload.startswith(b'{"type":"SYNC_'):
                self.last = payload
                return
            entries = payload.count(b'{"seq":')
            self.acknowledge(payload, entries)
            self.ready = self.ready or b'"complete":true' in payload
        self.frames += 1
        self.entries += entries

    def acknowledge(self, payload: bytes, entries: int) -> None:
        self.unacked[0] += entries
        self.unacked[1] += len(payload)
        snapshot = payload.startswith(b'{"type":"SYNC_SNAPSHOT"')
        more = b'"complete":false' in payload  # the server waits for this one before it sends the rest
        if not (snapshot or more) and self.unacked[0] < ACK_ENTRIES and self.unacked[1] < ACK_BYTES:
            return
        self.unacked = [0, 0]
        read = json.loads(payload)
        seq = read["seq"] if snapshot else read["to"]
        position = {"epoch": read["epoch"], "last_seq_id": seq, "checksum": read["checksum"]}
        self.socket.sendall(client_frame(json.dumps({"type": "ACK", "streams": {"bench:1": position}})))


class Load:
    """All the sockets, and the door on which each byte asks for a publish; HTTP tells its port."""

    def __init__(self, port: int, sockets: int, ours: bool) -> None:
        self.epoll = select.epoll()
        self.readers: dict[int, Reader] = {}
        self.latencies: list[float] = []
        began = time.perf_counter()
        for number in range(sockets):
            reader = Reader(number, port, ours)
            self.readers[reader.socket.fileno()] = reader
            self.epoll.register(reader.socket, select.EPOLLIN)
        self.opening = time.perf_counter() - began
        with urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=TIMEOUT) as answer:
            self.door = socket.create_connection((HOST, int(answer.read())))

    def publish(self) -> None:
        """Publishes an entry and reads until every socket has it."""
        missing = len(self.readers)
        began = time.perf_counter()
        self.door.sendall(b".")
        while missing:
            events = self.epoll.poll(TIMEOUT)
            if time.perf_counter() - began > TIMEOUT:
                raise TimeoutError(f"{missing} sockets wait for an entry")
            for number, _ in events:
                reader = self.readers[number]
                if entries := reader.read(reader.received()):
                    missing -= entries
                    self.latencies.append(time.perf_counter() - began)

    def total(self, name: str) -> int:
        return sum(getattr(reader, name) for reader in self.readers.values())


def measure(port: int, pid: int, sockets: int, seconds: float, ours: bool) -> dict[str, float]:
    load = Load(port, sockets, ours)
    time.sleep(0.3)
    for _ in range(WARM_UP):
        load.publish()
    server = psutil.Process(pid)
    load.latencies.clear()
    frames, entries = load.total("frames"), load.total("entries")
    cpu, own, start = server.cpu_times(), time.process_time(), time.perf_counter()
    publishes = 0
    while time.perf_counter() - start < seconds:
        load.publish()
        publishes += 1
    elapsed = time.perf_counter() - start
    after = server.cpu_times()
    own = time.process_time() - own
    spent = after.user - cpu.user + after.system - cpu.system
    frames, entries = load.total("frames") - frames, load.total("entries") - entries
    latencies = sorted(load.latencies)
    return {
        "publishes": publishes,
        "deliveries": entries,
        "entries_per_frame": entries / frames,
        "per_second": entries / elapsed,
        "server_us": spent / entries * 1e6,
        "load_us": own / entries * 1e6,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
        "opening_s": load.opening,
    }


def main() -> None:
    port, pid, sockets, seconds, kind = sys.argv[1:]
    print(json.dumps(measure(int(port), int(pid), int(sockets), float(seconds), kind == "ours")), flush=True)
    os._exit(0)  # hundreds of sockets need no farewell


if __name__ == "__main__":
    main()
