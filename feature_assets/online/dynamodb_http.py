"""One HTTP/1.1 answer, read from a socket by the standard library's http.client, until an instant.

Invariant: an answer is whole, or reading it raises; and all of it, however slowly it comes in, ends at the instant. It
neither sends nor connects.

urllib3, which botocore uses, and httpcore take 0.2 ms of processor time for a call that takes 0.06 ms like this; what
they do beyond it (redirects, proxies, retries, other bodies) is not wanted here.
"""

import io
import socket
import time
from dataclasses import dataclass
from http.client import HTTPMessage, HTTPResponse
from typing import Final, cast

BUFFER: Final = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `ends_here`: the connection can take another request, as nothing more is known to come."""

    status: int
    headers: HTTPMessage
    body: bytes
    ends_here: bool


class Reading(io.BufferedReader):
    """Reads one answer, of which `early` was received before. `end`: in the time of `time.monotonic`."""

    def __init__(self, connected: socket.socket, early: bytes, end: float) -> None:
        self._timed = _Timed(connected, early, end)
        super().__init__(self._timed, BUFFER)

    @property
    def received(self) -> int:
        """Bytes that came so far."""
        return self._timed.received

    def answer(self) -> Answer:
        """Raises `TimeoutError`, `OSError`, `http.client.HTTPException` or `ValueError` if it does not come whole."""
        # It asks a socket for a file to read from, and for nothing else.
        response = HTTPResponse(cast("socket.socket", self), method="POST")
        response.begin()
        body = response.read()
        self._timed.over = True
        return Answer(response.status, response.headers, body, not response.will_close and not self.peek())

    def makefile(self, _mode: str) -> "Reading":
        """As of a socket."""
        return self

    def close(self) -> None:
        """Not when http.client is done with it: it is asked what else came."""


class _Timed(io.RawIOBase):
    """A socket as a file whose reads, all together, end at an instant."""

    def __init__(self, connected: socket.socket, early: bytes, end: float) -> None:
        self._connected = connected
        self._early = early
        self._end = end
        self.received = len(early)
        self.over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override] # io hands over nothing else
        if self.over:
            return None
        if self._early:
            count = min(len(self._early), len(buffer))
            buffer[:count], self._early = self._early[:count], self._early[count:]
            return count
        self._connected.settimeout(time_left(self._end))
        count = self._connected.recv_into(buffer)
        self.received += count
        return count


def time_left(end: float) -> float:
    """Seconds until then. Raises `TimeoutError` if there are none."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("no time was left")
    return left
