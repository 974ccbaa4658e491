"""The online store in DynamoDB: a table per view version, an item per entity, short attributes.

Invariant: an answer says only what DynamoDB said. A key that it did not process is asked for again, and is THROTTLED
when the budget is used up, never absent; a write whose answer was lost is UNKNOWN, and never sent again by itself.

Reads are BatchGetItem, 100 keys a call, calls in parallel; several tables share calls. Writes are conditional, in
PartiQL's BatchExecuteStatement: 25 a call, each with a condition and a verdict of its own. What was refused for load is
sent again here, a few times and with jitter, and by nobody else: botocore's retries know neither the deadline nor what
may be repeated. Whoever needs more than that gets THROTTLED, and slows down. How a call is made is the transport's.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from itertools import islice
from threading import Lock
from typing import Final, Literal, TypeVar

from botocore.session import get_session

from feature_assets.errors import InputError, SettingsError, StoreThrottledError, StoreUnreachableError
from feature_assets.online.dynamodb_client import Endpoint, FaultError, Kind, Page, as_error, made_clients
from feature_assets.online.dynamodb_items import Verdict, outcome_of, write_statement
from feature_assets.online.dynamodb_options import DEFAULTS, DynamoDBOptions
from feature_assets.online.dynamodb_stats import CallStats
from feature_assets.online.dynamodb_tables import Tables
from feature_assets.online.store import Outcome, Put, ReadFailure, ReadResult

MAX_ITEM_BYTES: Final = 350 * 1024
"""DynamoDB takes items of 400 KB, with the names and values of all attributes."""
MAX_KEY_BYTES: Final = 2048
KEYS_PER_READ: Final = 100
WRITES_PER_CALL: Final = 25
FULL_PAGE_BYTES: Final = 15_000_000
"""BatchGetItem answers at most 16 MB. What a page nearly that large leaves over was not refused: it did not fit."""

__all__ = ["DynamoDBOptions", "DynamoDBStore"]

_log = logging.getLogger("feature_assets.online")
_LEGAL_PREFIX: Final = re.compile(r"[a-zA-Z0-9_-]{3,100}")
_LEGAL_TABLE: Final = re.compile(r"[a-z][a-z0-9_]{0,62}(\.[a-z0-9]{1,32})?")

Address = tuple[str, bytes]
"""A full table name and a key."""
Chunk = TypeVar("Chunk")
Result = TypeVar("Result")


class DynamoDBStore:
    """An `OnlineStore` (and `TableReads`) in DynamoDB. `prefix` starts the names of its tables, with a dot behind it.

    Region, endpoint and credentials that are not given are found as boto3 finds them; `kms_key` encrypts new tables.
    Making one sends nothing. Raises `SettingsError` for a prefix that cannot be, and if no region is known.

    `stats`: what it has counted. `reader` and `writer` are its boto3 clients, for event hooks; tables are always made
    through `writer`, items go through the two only if the transport is boto3.
    """

    keeps_deadlines = True
    """Calls of a read with a deadline run on threads of the store, which are left behind when it is over. Only a call
    whose answer is all that there is to wait for runs where it is asked for: it ends by then itself."""

    def __init__(
        self,
        prefix: str = "feature_assets",
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        kms_key: str | None = None,
        options: DynamoDBOptions = DEFAULTS,
    ) -> None:
        if _LEGAL_PREFIX.fullmatch(prefix) is None:
            raise SettingsError(
                f"DynamoDB: {prefix!r} cannot start the name of a table",
                hint="use 3 to 100 letters, digits, underscores and dashes",
            )
        endpoint = Endpoint(region, endpoint_url, access_key_id, secret_access_key, session_token)
        session = get_session()
        clients = made_clients(
            session, endpoint, options.read_timeouts, options.write_timeouts, connections=options.concurrency
        )
        self.reader, self.writer = clients
        self.stats = CallStats()
        self._reading, self._writing = options.transports(session, endpoint, clients, self.stats)
        self._tables = Tables(self.writer, kms_key, options.sleep)
        self._prefix = f"{prefix}."
        self._options = options
        self._threads: ThreadPoolExecutor | None = None
        self._starting = Lock()
        self.max_item_bytes = MAX_ITEM_BYTES
        self.target = f"dynamodb:{self.reader.meta.region_name}/{prefix}"

    def __repr__(self) -> str:
        return f"DynamoDBStore({self.target!r})"

    def prepare(self, table: str) -> None:
        self._tables.prepare(self._full(table))

    def drop(self, table: str) -> None:
        self._tables.drop(self._full(table))

    def tables(self) -> list[str]:
        return [name.removeprefix(self._prefix) for name in self._tables.starting_with(self._prefix)]

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        return self.read_tables([(table, keys)], consistent=consistent, deadline=deadline)[0]

    def read_tables(
        self,
        requests: Sequence[tuple[str, Sequence[bytes]]],
        *,
        consistent: bool = False,
        deadline: float | None = None,
    ) -> list[list[ReadResult]]:
        """Without a deadline it ends within `read_budget`, and the time that the last call takes."""
        end = time.monotonic() + (self._options.read_budget if deadline is None else deadline)
        asked = [(self._full(table), keys) for table, keys in requests]
        # Each key once; one that no item can have is not sent, as it would fail its whole call.
        sent = dict.fromkeys((table, key) for table, keys in asked for key in keys if 0 < len(key) <= MAX_KEY_BYTES)
        chunks = list(_chunks(sent, KEYS_PER_READ))

        first = self._at_once(chunks, end, consistent=consistent) if deadline is not None else None

        def read(chunk: Sequence[Address]) -> dict[Address, ReadResult]:
            return self._read_chunk(chunk, end, consistent=consistent, first=first)

        found: dict[Address, ReadResult] = {}
        if len(chunks) == 1 and (deadline is None or self._ends_with(first, end)):
            found = read(chunks[0])
        else:
            for part, answer in zip(chunks, self._in_parallel(read, chunks, end), strict=True):
                found.update(dict.fromkeys(part, ReadFailure.TIMEOUT) if answer is None else answer)
        return [[found.get((table, key)) for key in keys] for table, keys in asked]

    def write(self, table: str, puts: Sequence[Put]) -> list[Outcome]:
        """A put whose answer was lost is UNKNOWN and not repeated; one that was refused for load is, a few times."""
        name = self._full(table)
        if len({put.key for put in puts}) < len(puts):
            raise InputError(f"table {table!r}: a key is written twice in one call", hint="write each key once")
        sent = [at for at, put in enumerate(puts) if self._takes(put)]
        outcomes: list[Outcome | None] = [Outcome.REFUSED] * len(puts)
        chunks = list(_chunks(sent, WRITES_PER_CALL))

        def write(chunk: Sequence[int]) -> list[Outcome | None]:
            return self._write_chunk(name, [puts[at] for at in chunk])

        for chunk, answer in zip(chunks, self._in_parallel(write, chunks, None), strict=True):
            for at, outcome in zip(chunk, answer or (), strict=True):
                outcomes[at] = outcome
        if sent and all(outcomes[at] is None for at in sent):
            raise StoreUnreachableError(
                f"DynamoDB: no connection, nothing was written to {name}",
                hint="look at the endpoint, the region and the network; then try again",
            )
        return [Outcome.UNKNOWN if outcome is None else outcome for outcome in outcomes]

    def delete(self, table: str, keys: Sequence[bytes]) -> None:
        name = self._full(table)
        for chunk in _chunks(dict.fromkeys(keys), WRITES_PER_CALL):
            pending: Sequence[bytes] = chunk
            for failures in range(1, self._options.attempts + 1):
                self._counted_call("writes", failures)
                try:
                    pending = self._writing.batch_delete(name, pending)
                    self.stats.count("unprocessed", len(pending))
                except FaultError as fault:
                    self.stats.count(fault.kind.value)
                    if fault.kind is not Kind.THROTTLED:
                        raise as_error(f"delete items of {name}", fault) from fault
                if not pending:
                    break
                self._options.sleep(self._options.pause(failures))
            else:
                raise StoreThrottledError(
                    f"DynamoDB: {len(pending)} items of {name} are not deleted after {self._options.attempts} attempts",
                    hint="try again later",
                )

    def numbers(self) -> Mapping[str, int]:
        return self.stats.numbers()

    def close(self) -> None:
        with self._starting:
            if self._threads is not None:
                self._threads.shutdown(wait=False, cancel_futures=True)
        self._reading.close()
        self._writing.close()

    # ---------------------------------------------------------------------------------------------------- reading
    def unprocessed(self, page: Page) -> Sequence[Address]:
        """What an answer leaves open: to be asked for again, not to be taken for absent."""
        return [(table, key) for table, keys in page.unprocessed.items() for key in keys]

    def _at_once(
        self, chunks: Sequence[Sequence[Address]], end: float, *, consistent: bool
    ) -> Page | FaultError | None:
        """What the only call there is was answered, if that takes no more time than it has; None: to be called yet."""
        left = end - time.monotonic()
        if len(chunks) > 1 or not chunks or left <= 0:
            return None
        answer: Page | FaultError | None
        try:
            answer = self._reading.batch_get_at_once(_by_table(chunks[0]), consistent=consistent, timeout=left)
        except FaultError as fault:
            answer = fault
        if answer is not None:
            self._counted_call("reads", 1)
        return answer

    def _ends_with(self, first: Page | FaultError | None, end: float) -> bool:
        """Whether after this answer nothing is called: nothing is left to be asked for, or no time."""
        if isinstance(first, Page):
            return not self.unprocessed(first)
        return first is not None and time.monotonic() >= end

    def _called(self, addresses: Sequence[Address], end: float, *, consistent: bool) -> Page | FaultError:
        left = max(0.001, end - time.monotonic())
        try:
            return self._reading.batch_get(_by_table(addresses), consistent=consistent, timeout=left)
        except FaultError as fault:
            return fault

    def _read_chunk(
        self, chunk: Sequence[Address], end: float, *, consistent: bool, first: Page | FaultError | None = None
    ) -> dict[Address, ReadResult]:
        """One result per address, within the budget. `first`: what the first call was answered, if it was made."""
        found: dict[Address, ReadResult] = dict.fromkeys(chunk)
        pending = chunk
        failures = 0
        while True:
            if first is None:
                self._counted_call("reads", failures + 1)
                answer = self._called(pending, end, consistent=consistent)
            else:
                answer, first = first, None
            if isinstance(answer, FaultError):
                self.stats.count(answer.kind.value)
                if answer.kind is Kind.REFUSED:
                    raise as_error("read", answer) from answer
                cause = _READ_FAILURES[answer.kind]
            else:
                found.update(answer.items)
                pending = self.unprocessed(answer)
                if not pending:
                    return found
                if answer.size >= FULL_PAGE_BYTES:
                    continue
                self.stats.count("unprocessed", len(pending))
                cause = ReadFailure.THROTTLED
            failures += 1
            pause = self._options.pause(failures)
            if failures >= self._options.attempts or time.monotonic() + pause >= end:
                return {**found, **dict.fromkeys(pending, cause)}
            self._options.sleep(pause)

    # ---------------------------------------------------------------------------------------------------- writing
    def _takes(self, put: Put) -> bool:
        """Whether DynamoDB would take it; one that it would not is kept from it."""
        fits = 0 < len(put.key) <= MAX_KEY_BYTES and len(put.value) <= self.max_item_bytes
        if not fits:
            _log.error("%s: refused an item: %d bytes under a key of %d", self.target, len(put.value), len(put.key))
        return fits

    def _write_chunk(self, table: str, puts: Sequence[Put]) -> list[Outcome | None]:
        """One outcome per put; None if it was not sent."""
        outcomes: list[Outcome | None] = [Outcome.THROTTLED] * len(puts)
        pending = list(range(len(puts)))
        for failures in range(1, self._options.attempts + 1):
            self._counted_call("writes", failures)
            answers = self._executed(table, [puts[at] for at in pending])
            for at, outcome in zip(pending, answers, strict=True):
                outcomes[at] = outcome
            pending = [at for at in pending if outcomes[at] is Outcome.THROTTLED]
            if not pending or failures == self._options.attempts:
                break
            self._options.sleep(self._options.pause(failures))
        return outcomes

    def _executed(self, table: str, puts: Sequence[Put]) -> Sequence[Outcome | None]:
        try:
            verdicts = self._writing.batch_execute([write_statement(table, put) for put in puts])
        except FaultError as fault:
            self.stats.count(fault.kind.value)
            if fault.kind is Kind.REFUSED:
                _log.error("%s: table %s refused %d items: %s", self.target, table, len(puts), fault.reason)
            return [_WRITE_FAULTS[fault.kind]] * len(puts)
        outcomes = [self._outcome(table, verdict) for verdict in verdicts]
        self.stats.count("unprocessed", outcomes.count(Outcome.THROTTLED))
        return outcomes

    def _outcome(self, table: str, verdict: Verdict) -> Outcome:
        outcome = outcome_of(verdict)
        if outcome in {Outcome.REFUSED, Outcome.UNKNOWN}:
            _log.error("%s: table %s: %s (%s)", self.target, table, verdict.code, verdict.message)
        return outcome

    # ---------------------------------------------------------------------------------------------------- common
    def _counted_call(self, what: Literal["reads", "writes"], attempt: int) -> None:
        self.stats.count(what)
        if attempt > 1:
            self.stats.count("repeats")

    def _full(self, table: str) -> str:
        if _LEGAL_TABLE.fullmatch(table) is None:
            raise InputError(
                f"{table!r} is no name of an online table",
                hint="it is <view>.<version>, e.g. carrier_hourly.0123456789",
            )
        return self._prefix + table

    def _in_parallel(
        self, work: Callable[[Chunk], Result], chunks: Sequence[Chunk], end: float | None
    ) -> list[Result | None]:
        """The result for each chunk; None if it was not there at `end`. A call that hangs ends at its own timeout."""
        if end is not None and time.monotonic() >= end:
            return [None] * len(chunks)
        if len(chunks) == 1 and end is None:
            return [work(chunks[0])]
        futures: list[Future[Result]] = [self._executor().submit(work, chunk) for chunk in chunks]
        done, late = wait_for(futures, None if end is None else max(0.0, end - time.monotonic()))
        for future in late:
            future.cancel()
        return [future.result() if future in done else None for future in futures]

    def _executor(self) -> ThreadPoolExecutor:
        with self._starting:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._options.concurrency, "dynamodb")
            return self._threads


_READ_FAILURES: Final = {
    Kind.UNSENT: ReadFailure.ERROR,
    Kind.LOST: ReadFailure.ERROR,
    Kind.TIMEOUT: ReadFailure.TIMEOUT,
    Kind.THROTTLED: ReadFailure.THROTTLED,
}
_WRITE_FAULTS: Final = {
    Kind.UNSENT: None,
    Kind.LOST: Outcome.UNKNOWN,
    Kind.TIMEOUT: Outcome.UNKNOWN,
    Kind.THROTTLED: Outcome.THROTTLED,
    Kind.REFUSED: Outcome.REFUSED,
}


def _by_table(addresses: Iterable[Address]) -> dict[str, list[bytes]]:
    tables: dict[str, list[bytes]] = {}
    for table, key in addresses:
        tables.setdefault(table, []).append(key)
    return tables


def _chunks(items: Iterable[Chunk], size: int) -> Iterator[list[Chunk]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
