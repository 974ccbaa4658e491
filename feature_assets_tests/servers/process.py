"""One server process: started on a free loopback port, waited for until it answers, ended by its process id.

Invariant: when the block of `running` is left, by whatever way, the process has ended.
It knows nothing of what the server is; that it listens on the port it was given is for the caller to arrange.
"""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO

START_WITHIN_S = 60.0
"""Generous: a cold JVM on a loaded two-core machine takes ten."""
STOP_WITHIN_S = 10.0
ATTEMPTS = 3
"""Between being found free and being bound a port may be taken; the process then ends at once and another is tried."""


class ServerNotStartedError(RuntimeError):
    """A server that the tests need did not come up. Never a reason to skip: what it would prove is then unproven."""


def free_port() -> int:
    """A loopback port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(
    name: str,
    command: Callable[[int], Sequence[str]],
    answers: Callable[[int], bool],
    *,
    environment: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Run `command(port)` until the block is left; yields the port once `answers(port)` is true.

    `answers` makes one real request and returns False, rather than raising, while the server is not there yet.
    Raises `ServerNotStartedError`, with the end of the server's own output, if that does not come true.
    """
    with tempfile.TemporaryFile() as output:
        for _ in range(ATTEMPTS):
            port = free_port()
            process = subprocess.Popen(
                list(command(port)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
            try:
                if _became_ready(process, partial(answers, port)):
                    yield port
                    return
                if process.returncode is None:
                    break
            finally:
                _stop(process)
        raise ServerNotStartedError(f"{name} did not start; the end of its output:\n{_tail(output)}")


def _became_ready(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> bool:
    """Whether `ready` came true before the process ended and before the time was up."""
    end = time.monotonic() + START_WITHIN_S
    while time.monotonic() < end:
        if ready():
            return process.poll() is None
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        return False
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(output: IO[bytes], characters: int = 4_000) -> str:
    output.seek(0)
    return output.read().decode(errors="replace")[-characters:]
