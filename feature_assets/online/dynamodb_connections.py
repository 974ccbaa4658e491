"""A fixed number of kept connections to one HTTP/1.1 server, and one exchange at a time on each.

Invariant: there are never more sockets than places in the pool. A connection is used again only after an answer that
was whole; whatever else happened to it, it is closed. A failure says whether anything of the request can have had an
effect: a request is signed and its length is announced, so one that was not handed over whole has none.

Requests come as bytes. Nothing is repeated here.
"""

import select
import socket
import ssl
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from threading import Condition
from typing import Final

from feature_assets.online.dynamodb_client import FaultError, Kind
from feature_assets.online.dynamodb_http import BUFFER, Answer, Reading, time_left

IDLE_S: Final = 60.0
"""A connection that was not used for so long is not trusted: routers forget those, and then swallow what is sent."""


class CutOffError(FaultError):
    """The server ended a connection that was kept, before a byte of the answer came: it may have been asleep."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is connected to. `tls`: None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    timeout: float

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Connection:
    """One place in the pool, with a socket or, before it is needed and after it broke, none. One thread at a time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._socket: socket.socket | None = None
        self._whole = True
        self._kept_since: float | None = None
        self._early = b""

    @property
    def is_open(self) -> bool:
        """Whether it can be used (again)."""
        return self._socket is not None and self._whole

    @property
    def is_kept(self) -> bool:
        """Whether it was idle since it was connected: then the server may have closed it meanwhile."""
        return self._kept_since is not None

    def keep(self) -> None:
        """It becomes idle now."""
        self._kept_since = time.monotonic()

    def is_sound(self) -> bool:
        """Whether it is open, of late, and the server has neither closed it nor said anything unasked."""
        if self._socket is None or not self._whole or _readable([self], 0.0):
            return False
        return self._kept_since is None or time.monotonic() - self._kept_since < IDLE_S

    def open(self, end: float) -> None:
        """Connect, unless there is a sound socket. Raises `FaultError`, UNSENT."""
        if self.is_sound():
            return
        self.close()
        wait = min(self._place.timeout, end - time.monotonic())
        try:
            if wait <= 0:
                raise TimeoutError("no time was left")
            made = socket.create_connection((self._place.host, self._place.port), wait)
            self._socket = made
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._place.tls is not None:
                self._socket = self._place.tls.wrap_socket(made, server_hostname=self._place.host)
        except (OSError, ValueError) as error:
            self.close()
            raise FaultError(Kind.UNSENT, f"cannot connect to {self._place}: {_said(error)}") from error

    def send(self, request: bytes, end: float) -> None:
        """Hand a request over. Raises `FaultError`: UNSENT if part of it was not taken, so that it has no effect."""
        connected = self._connected()
        self._whole = False
        rest = memoryview(request)
        try:
            while rest:
                connected.settimeout(time_left(end))
                rest = rest[connected.send(rest) :]
        except TimeoutError as error:
            raise FaultError(Kind.TIMEOUT, f"{self._place} takes no request: {_said(error)}") from error
        except OSError as error:
            kind = CutOffError if self.is_kept else FaultError
            raise kind(Kind.UNSENT, f"{self._place} takes no request: {_said(error)}") from error

    def answer(self, end: float) -> Answer:
        """The answer to what was sent. Raises `FaultError`, TIMEOUT or LOST."""
        reading = Reading(self._connected(), self._early, end)
        self._early = b""
        try:
            answer = reading.answer()
        except TimeoutError as error:
            raise FaultError(Kind.TIMEOUT, f"no answer of {self._place} in time") from error
        except (HTTPException, OSError, ValueError) as error:
            kind = CutOffError if self.is_kept and not reading.received else FaultError
            raise kind(Kind.LOST, f"the answer of {self._place} was cut off: {_said(error)}") from error
        self._whole = answer.ends_here
        return answer

    def close(self) -> None:
        """Without a word: whatever was on its way is not heard."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._socket, self._whole, self._kept_since, self._early = None, True, None, b""

    def __del__(self) -> None:
        """Of a store that nobody closed."""
        self.close()

    def begins(self) -> bool:
        """Whether an answer, or the end of the connection, has come: to be asked when the socket is readable.

        In TLS a socket may be readable and nothing of the answer there.
        """
        connected = self._connected()
        connected.settimeout(0.0)
        try:
            self._early = connected.recv(BUFFER)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            # Whoever reads on gets the same error.
            return True
        return True

    def broke(self) -> bool:
        """Whether what has begun is no answer."""
        return not self._early

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise FaultError(Kind.UNSENT, f"the connection to {self._place} is closed")
        return self._socket

    def fileno(self) -> int:
        """Of the socket."""
        return self._connected().fileno()


class Pool:
    """`size` connections to one place. Any number of threads; the one used last is used first."""

    def __init__(self, place: Place, size: int) -> None:
        self._free = deque(Connection(place) for _ in range(size))
        self._changed = Condition()
        self._closed = False

    def take(self, end: float) -> Connection | None:
        """An open connection, for this caller alone until it is given back; None if none is free by then.

        Raises `FaultError`, UNSENT, if it cannot connect.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._free, max(0.0, end - time.monotonic())):
                return None
            taken = self._free.pop()
        try:
            taken.open(end)
        except BaseException:
            self.give(taken)
            raise
        return taken

    def spare(self) -> Connection | None:
        """A sound connection that is free at this moment, without waiting or connecting."""
        with self._changed:
            if not self._free or not self._free[-1].is_open:
                return None
            taken = self._free.pop()
        if taken.is_sound():
            return taken
        self.give(taken)
        return None

    def connect_one(self) -> None:
        """Connect one more, for a next read and its second; not if two are open and free, or no place is.

        If it cannot be connected, it stays as it was.
        """
        with self._changed:
            if not self._free or self._free[0].is_open or sum(one.is_open for one in self._free) > 1:
                return
            taken = self._free.popleft()
        try:
            with suppress(FaultError):
                taken.open(float("inf"))
        finally:
            self.give(taken)

    def give(self, connection: Connection) -> None:
        """Back to the others; closed, unless its last answer was whole."""
        if self._closed or not connection.is_open:
            connection.close()
        else:
            connection.keep()
        with self._changed:
            # Those without a socket come last.
            (self._free.append if connection.is_open else self._free.appendleft)(connection)
            self._changed.notify()

    def close(self) -> None:
        """Close those that are free, and each other one when it is given back."""
        self._closed = True
        with self._changed:
            for connection in self._free:
                connection.close()


def first_of(connections: list[Connection], end: float) -> Connection | None:
    """The first of them whose answer begins; one that breaks counts only when it is the last. None: none in time."""
    running = list(connections)
    while (left := end - time.monotonic()) > 0:
        for connection in _readable(running, left):
            if not connection.begins():
                continue
            if not connection.broke() or len(running) == 1:
                return connection
            running.remove(connection)
    return None


def _readable(candidates: list[Connection], wait: float) -> list[Connection]:
    poll = select.poll()
    by_number = {one.fileno(): one for one in candidates}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(wait * 1000)]


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
