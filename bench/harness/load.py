"""A client that asks an HTTP server as fast as it answers, over so many connections, in a process of its own.

    load = under_load(port, path, bodies, headers, connections=8, seconds=5.0)

Each connection is kept alive, sends the next body as soon as it has read the whole answer, and counts nothing that is
not status 200. Invariant: the client parses no answer, so that what is measured is the server (and this machine's two
cores, on which both run).
"""

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class Load:
    """What a server did: answers a second, and how long each took, in seconds."""

    per_second: float
    p50: float
    p95: float
    p99: float


def under_load(
    port: int,
    path: str,
    bodies: Sequence[bytes],
    headers: Mapping[str, str],
    *,
    connections: int,
    seconds: float,
) -> Load:
    """Ask for `seconds`, with each of `bodies` in turn. Raises `CalledProcessError` if an answer is not 200."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        asked = {"path": path, "headers": dict(headers), "bodies": [body.decode("latin-1") for body in bodies]}
        json.dump(asked, file)
        file.flush()
        options = ["--port", str(port), "--connections", str(connections), "--seconds", str(seconds)]
        done = subprocess.run(
            [sys.executable, __file__, *options, file.name], check=True, capture_output=True, text=True
        )
    return Load(**json.loads(done.stdout))


def asked_once(connection: http.client.HTTPConnection, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """One answer, read whole."""
    connection.request("POST", path, body, dict(headers))
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != http.client.OK:
        raise RuntimeError(f"{path}: {answer.status} {content[:300]!r}")
    return content


def main() -> None:
    """The client's own process."""
    made = argparse.ArgumentParser()
    made.add_argument("asked", type=Path)
    made.add_argument("--port", type=int)
    made.add_argument("--connections", type=int)
    made.add_argument("--seconds", type=float)
    options = made.parse_args()
    asked = json.loads(options.asked.read_text(encoding="utf-8"))
    bodies = [body.encode("latin-1") for body in asked["bodies"]]
    taken: list[list[float]] = [[] for _ in range(options.connections)]
    failures: list[Exception] = []
    end = time.perf_counter() + options.seconds

    def run(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", options.port)
        at = number * 7
        try:
            while (began := time.perf_counter()) < end:
                asked_once(connection, asked["path"], bodies[at % len(bodies)], asked["headers"])
                taken[number].append(time.perf_counter() - began)
                at += 1
        except Exception as error:  # noqa: BLE001 # told below, in the main thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(options.connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        sys.exit(str(failures[0]))
    seconds = np.concatenate([np.array(one) for one in taken])
    p50, p95, p99 = (float(np.percentile(seconds, q)) for q in (50, 95, 99))
    print(json.dumps({"per_second": len(seconds) / (time.perf_counter() - began), "p50": p50, "p95": p95, "p99": p99}))


if __name__ == "__main__":
    main()
