"""The load, in a process of its own: raw sockets that read frame headers and little else.

    python -m benchmarks.load PORT SERVER_PID SOCKETS SECONDS stock|ours|bare

Publishes the next entry only when all sockets have the one before, so that nothing is merged into one
frame and each delivery is a frame. Prints one JSON object.
"""

import asyncio
import json
import os
import struct
import sys
import time
from collections.abc import Callable

import psutil

HOST = "127.0.0.1"
WARM_UP = 3
ACK_ENTRIES = 250  # as WELCOME says
ACK_BYTES = 192 * 1024
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


class Reader(asyncio.Protocol):
    """One socket: counts frames that carry entries."""

    def __init__(self, number: int, ours: bool, on_entries: Callable[[int], None]) -> None:
        self.number = number
        self.ours = ours
        self.on_entries = on_entries
        self.ready = asyncio.get_running_loop().create_future()
        self.frames = 0
        self.entries = 0
        self.opened = False
        self.buffer = b""
        self.unacked = [0, 0]
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        host = "{}:{}".format(*transport.get_extra_info("peername"))
        more = "Sec-WebSocket-Protocol: reconnect.v1\r\n" if self.ours else ""
        transport.write(HANDSHAKE.format(host=host, more=more).encode())

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(RuntimeError(f"the server closed the connection: {self.buffer[:200]!r}"))

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data if self.buffer else data
        if not self.opened:
            head, found, buffer = buffer.partition(b"\r\n\r\n")
            if not found:
                self.buffer = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                raise RuntimeError(head.decode())
            self.opened = True
            assert self.transport is not None
            if self.ours:
                self.transport.write(client_frame(json.dumps({**HELLO, "client_id": f"bench-{self.number}"})))
            else:
                self.ready.set_result(None)
        at, end = 0, len(buffer)
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

    def frame(self, payload: bytes) -> None:
        entries = 1
        if self.ours:
            if not payload.startswith(b'{"type":"SYNC_'):
                return
            entries = payload.count(b'{"seq":')
            self.acknowledge(payload, entries)
            if not self.ready.done() and b'"complete":true' in payload:
                self.ready.set_result(None)
        if entries and self.ready.done():
            self.frames += 1
            self.entries += entries
            self.on_entries(entries)

    def acknowledge(self, payload: bytes, entries: int) -> None:
        self.unacked[0] += entries
        self.unacked[1] += len(payload)
        snapshot = payload.startswith(b'{"type":"SYNC_SNAPSHOT"')
        if not snapshot and self.unacked[0] < ACK_ENTRIES and self.unacked[1] < ACK_BYTES:
            return
        self.unacked = [0, 0]
        read = json.loads(payload)
        seq = read["seq"] if snapshot else read["to"]
        position = {"epoch": read["epoch"], "last_seq_id": seq, "checksum": read["checksum"]}
        assert self.transport is not None
        self.transport.write(client_frame(json.dumps({"type": "ACK", "streams": {"bench:1": position}})))


async def open_door(port: int) -> asyncio.StreamWriter:
    """The connection on which each byte asks for a publish; HTTP tells its port."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    _, door = await asyncio.open_connection(HOST, int(answer.rpartition(b"\r\n\r\n")[2]))
    return door


async def measure(port: int, pid: int, sockets: int, seconds: float, ours: bool) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    missing = 0
    complete = asyncio.Event()
    began = 0.0
    latencies: list[float] = []

    def arrived(entries: int) -> None:
        nonlocal missing
        missing -= entries
        latencies.append(time.perf_counter() - began)
        if missing == 0:
            complete.set()

    readers = []
    opening = time.perf_counter()
    for start in range(0, sockets, 50):
        several = [
            loop.create_connection(lambda n=n: Reader(n, ours, arrived), HOST, port)  # type: ignore[misc]
            for n in range(start, min(start + 50, sockets))
        ]
        opened = [protocol for _, protocol in await asyncio.gather(*several)]
        async with asyncio.timeout(30):
            await asyncio.gather(*(reader.ready for reader in opened))
        readers += opened
    opening = time.perf_counter() - opening
    door = await open_door(port)

    async def publish() -> None:
        nonlocal missing, began
        missing = sockets
        complete.clear()
        began = time.perf_counter()
        door.write(b".")
        async with asyncio.timeout(30):
            await complete.wait()

    await asyncio.sleep(0.3)
    for _ in range(WARM_UP):
        await publish()
    server = psutil.Process(pid)
    latencies.clear()
    frames = sum(reader.frames for reader in readers)
    entries = sum(reader.entries for reader in readers)
    cpu, own = server.cpu_times(), time.process_time()
    start = time.perf_counter()
    publishes = 0
    while time.perf_counter() - start < seconds:
        await publish()
        publishes += 1
    elapsed = time.perf_counter() - start
    after = server.cpu_times()
    own = time.process_time() - own
    spent = after.user - cpu.user + after.system - cpu.system
    frames = sum(reader.frames for reader in readers) - frames
    entries = sum(reader.entries for reader in readers) - entries
    latencies.sort()
    return {
        "publishes": publishes,
        "deliveries": entries,
        "entries_per_frame": entries / frames,
        "per_second": entries / elapsed,
        "server_us": spent / entries * 1e6,
        "load_us": own / entries * 1e6,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
        "opening_s": opening,
    }


def main() -> None:
    port, pid, sockets, seconds, kind = sys.argv[1:]
    result = asyncio.run(measure(int(port), int(pid), int(sockets), float(seconds), kind == "ours"))
    print(json.dumps(result), flush=True)
    os._exit(0)  # hundreds of sockets need no farewell


if __name__ == "__main__":
    main()
