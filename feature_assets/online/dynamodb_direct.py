"""The calls that the DynamoDB store makes, over kept HTTP connections of its own instead of boto3.

Invariant: the kinds of failure and what they mean are those of `BotoTransport`, and the answers are the same. An answer
is believed if it came whole, has the checksum that DynamoDB sent along, and reads as DynamoDB documents; else it is
LOST. A call is sent again only if that has no second effect: at once on a fresh connection if the server had closed the
one that was kept (a write only if not all of it was handed over), and a slow read once more beside the first.

boto3 still says where to send it and as whom (`dynamodb_route`). Through a proxy, or to an address with a path, calls
are left to boto3.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any, TypeVar
from zlib import crc32

from botocore.session import Session

from feature_assets.online import dynamodb_wire as wire
from feature_assets.online.dynamodb_client import (
    BotoTransport,
    Endpoint,
    FaultError,
    Kind,
    Page,
    Timeouts,
    Transport,
    fault_of,
    faults,
)
from feature_assets.online.dynamodb_connections import Connection, CutOffError, Place, Pool, first_of
from feature_assets.online.dynamodb_hedging import Hedger, Hedging
from feature_assets.online.dynamodb_http import Answer
from feature_assets.online.dynamodb_items import Statement, Verdict
from feature_assets.online.dynamodb_route import credentials_of, detour, route_of, tls_context
from feature_assets.online.dynamodb_signing import Signer
from feature_assets.online.dynamodb_stats import CallStats

_log = logging.getLogger("feature_assets.online")
_OK = 200
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Line:
    """How calls are made: within which time, how many at once, if slow reads are asked twice, and who counts them."""

    timeouts: Timeouts
    connections: int
    hedging: Hedging | None
    stats: CallStats


def direct_or_boto(client: Any, session: Session, endpoint: Endpoint, line: Line) -> Transport:  # noqa: ANN401 - botocore makes its clients at run time
    """The direct transport to where `client`, of `session`, would go; the client itself if that is no way for it."""
    reason = detour(client)
    if reason is None:
        return DirectTransport(client, session, endpoint, line)
    _log.info("DynamoDB at %s is called through boto3: %s", client.meta.endpoint_url, reason)
    return BotoTransport(client)


class DirectTransport:
    """The data plane. Making one finds no credentials and sends nothing; the first call does. Any number of threads."""

    def __init__(self, client: Any, session: Session, endpoint: Endpoint, line: Line) -> None:  # noqa: ANN401 - see above
        self._client = client
        self._session = session
        self._endpoint = endpoint
        self._line = line
        self._hedger = None if line.hedging is None else Hedger(line.hedging)
        self._ready: tuple[Signer, Pool] | None = None
        self._starting = Lock()
        self._connecting = Lock()

    def batch_get(self, keys: Mapping[str, Sequence[bytes]], *, consistent: bool, timeout: float | None = None) -> Page:
        request = wire.get_request(keys, consistent=consistent)
        return self._noted(self._call("BatchGetItem", request, wire.got, repeatable=True, timeout=timeout))

    def batch_get_at_once(
        self, keys: Mapping[str, Sequence[bytes]], *, consistent: bool, timeout: float
    ) -> Page | None:
        """Over a connection that is kept, with credentials that are known. None, too, if it had been closed."""
        end = time.monotonic() + timeout
        if self._ready is None or not self._ready[0].is_at_hand:
            return None
        signer, pool = self._ready
        connection = pool.spare()
        if connection is None:
            return None
        try:
            with faults():
                request = signer.signed("BatchGetItem", wire.get_request(keys, consistent=consistent))
            answer = self._asked(pool, connection, request, end, repeatable=True)
        except CutOffError:
            self._line.stats.count("reconnects")
            return None
        finally:
            pool.give(connection)
        return self._noted(self._told("BatchGetItem", answer, wire.got))

    def batch_execute(self, statements: Sequence[Statement]) -> Sequence[Verdict]:
        request = wire.execute_request(statements)
        return self._call("BatchExecuteStatement", request, lambda body: wire.executed(body, len(statements)))

    def batch_delete(self, table: str, keys: Sequence[bytes]) -> Sequence[bytes]:
        request = wire.delete_request(table, keys)
        return self._call("BatchWriteItem", request, lambda body: wire.undeleted(body, table))

    def close(self) -> None:
        if self._ready is not None:
            self._ready[1].close()
        self._client.close()

    def _call(
        self,
        operation: str,
        body: bytes,
        read: Callable[[bytes], Read],
        *,
        repeatable: bool = False,
        timeout: float | None = None,
    ) -> Read:
        """One call, and what its answer says. `timeout` bounds all but what botocore does for credentials."""
        end = None if timeout is None else time.monotonic() + timeout
        with faults():
            signer, pool = self._ready or self._made_ready()
            request = signer.signed(operation, body)
        return self._told(operation, self._exchanged(pool, request, end, repeatable=repeatable), read)

    def _told(self, operation: str, answer: Answer, read: Callable[[bytes], Read]) -> Read:
        """What an answer says, if it is one."""
        checksum = answer.headers.get("x-amz-crc32")
        if checksum is not None and checksum.strip() != str(crc32(answer.body)):
            raise FaultError(Kind.LOST, "the answer is not the one that was sent: its checksum is another")
        if answer.status != _OK:
            fault = fault_of(*wire.refusal(answer.body, answer.status), answer.status)
            if fault.kind is Kind.THROTTLED and self._hedger is not None:
                self._hedger.throttled()
            raise fault
        try:
            return read(answer.body)
        except wire.BrokenAnswerError as error:
            raise FaultError(Kind.LOST, f"the answer to {operation} cannot be read: {error}") from error

    def _noted(self, page: Page) -> Page:
        if page.unprocessed and self._hedger is not None:
            self._hedger.throttled()
        return page

    def _exchanged(self, pool: Pool, request: bytes, end: float | None, *, repeatable: bool) -> Answer:
        """Over a connection of the pool; over a fresh one, if that had been closed."""
        limit = _earlier(end, self._line.timeouts.connect + self._line.timeouts.read)
        connection = pool.take(limit)
        if connection is None:
            raise FaultError(Kind.TIMEOUT if repeatable else Kind.UNSENT, "no connection was free in time")
        try:
            try:
                return self._asked(pool, connection, request, end, repeatable=repeatable)
            except CutOffError as cut:
                if not repeatable and cut.kind is not Kind.UNSENT:
                    raise
                self._line.stats.count("reconnects")
                connection.close()
                connection.open(limit)
                return self._asked(pool, connection, request, end, repeatable=repeatable)
        finally:
            pool.give(connection)

    def _asked(
        self, pool: Pool, connection: Connection, request: bytes, end: float | None, *, repeatable: bool
    ) -> Answer:
        limit = _earlier(end, self._line.timeouts.read)
        connection.send(request, limit)
        if self._hedger is None or not repeatable:
            return connection.answer(limit)
        began = time.monotonic()
        patience = self._hedger.patience()
        try:
            if patience is None or first_of([connection], min(limit, began + patience)) is not None:
                return connection.answer(limit)
            return self._hedged(self._hedger, pool, connection, request, limit)
        finally:
            self._hedger.took(time.monotonic() - began)

    def _hedged(self, hedger: Hedger, pool: Pool, first: Connection, request: bytes, limit: float) -> Answer:
        """The answer on `first`, or on a second connection if that is faster."""
        second = pool.spare()
        if second is None:
            self._connect_one_more(pool)
            return first.answer(limit)
        try:
            if not hedger.spend():
                return first.answer(limit)
            self._line.stats.count("hedges")
            try:
                second.send(request, limit)
            except FaultError:
                return first.answer(limit)
            winner = first_of([first, second], limit)
            if winner is second:
                self._line.stats.count("hedges_won")
            return (winner or first).answer(limit)
        finally:
            pool.give(second)
            # The other one is closed now.
            self._connect_one_more(pool)

    def _connect_one_more(self, pool: Pool) -> None:
        """For the next time; beside the read that is waiting."""
        if self._connecting.acquire(blocking=False):

            def connect() -> None:
                try:
                    pool.connect_one()
                finally:
                    self._connecting.release()

            Thread(target=connect, name="dynamodb-connect", daemon=True).start()

    def _made_ready(self) -> tuple[Signer, Pool]:
        with self._starting:
            if self._ready is None:
                route = route_of(self._client)
                tls = tls_context(self._session) if route.tls else None
                place = Place(route.host, route.port, tls, self._line.timeouts.connect)
                signer = Signer(credentials_of(self._session, self._endpoint), route.scope)
                self._ready = (signer, Pool(place, self._line.connections))
            return self._ready


def _earlier(end: float | None, wait: float) -> float:
    by = time.monotonic() + wait
    return by if end is None else min(by, end)
