"""The demo's last step: a server of its own for the model's features, asked for the flights that depart next.

Invariant: it listens on the loopback interface, on a port that nobody uses, and has ended when this returns.
"""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from feature_assets.cli.output import out
from feature_assets.definition.service import FeatureService
from feature_assets.errors import OnlineError
from feature_assets.examples.flights.project import FLIGHT_DELAY
from feature_assets.store import FeatureStore

SIZES: Final = ((1, 60), (100, 20))
"""How many flights are asked for at once, and how often."""
_READY_WITHIN_S: Final = 60.0
_PERCENTILES: Final = (50, 95, 99)


def show_serving(store: FeatureStore) -> None:
    """Serve over HTTP, ask, and print how long it took."""
    service = FLIGHT_DELAY.service
    now = store.clock.now()
    flights = FLIGHT_DELAY.spine(now - timedelta(days=2), now).select([one.name for one in service.key_columns])
    out.print(f"\n[bold]Served over HTTP[/]: {len(service.output_columns)} features of flights, on this machine")
    with _server() as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for size, times in SIZES:
            taken = [_asked(connection, service, flights, size, turn) for turn in range(times + 5)][5:]
            each = ", ".join(f"p{q} {1e3 * float(np.percentile(taken, q)):.1f} ms" for q in _PERCENTILES)
            out.print(f"  {size:3} at once: {each}")
        connection.close()
    out.print("  [bold].venv/bin/feature-assets serve[/] serves them as long as you like")


def _asked(
    connection: http.client.HTTPConnection, service: FeatureService, flights: pa.Table, size: int, turn: int
) -> float:
    """Seconds that one answer took, read whole."""
    rows = flights.slice(turn * size % max(1, flights.num_rows - size), size)
    body = msgspec.json.encode({"columns": rows.to_pydict()})
    began = time.perf_counter()
    connection.request("POST", f"/v1/services/{service.name}", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    seconds = time.perf_counter() - began
    if answer.status != http.client.OK:
        raise OnlineError(f"the server answered {answer.status}: {content[:300].decode(errors='replace')}")
    return seconds


@contextmanager
def _server() -> Iterator[int]:
    """`feature-assets serve` over the demo's stores, until the block is left."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "feature_assets.cli", "serve", "--port", str(port), "--no-audit"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "PYTHONWARNINGS": "ignore"})  # noqa: S603 # our own command
    try:
        end = time.monotonic() + _READY_WITHIN_S
        while not _is_ready(port):
            if process.poll() is not None or time.monotonic() > end:
                said = b"" if process.stderr is None or process.poll() is None else process.stderr.read()
                raise OnlineError(
                    f"the server did not get ready: {said[-300:].decode(errors='replace')}",
                    hint="start it by hand: feature-assets serve",
                )
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.communicate()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()
