"""`OnlineReader`: the features of a service for some entities, as the online store has them now.

Invariant: an entity asked for twice, or in two roles, is read once, and each table in one read. The failure of one view
leaves the others as they are, and becomes a status: only what the caller did wrong is raised.
It writes nothing and caches no values: only which version of a view answers, and how fresh it is, for a short while.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from feature_assets.clock import Clock, from_us, to_us
from feature_assets.compute.aggregates.layout import layout_of
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureRef, FeatureView
from feature_assets.errors import FeatureAssetsError, InputError, OnlineError, StoreRefusedError, StoreThrottledError
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger
from feature_assets.online.codec import ValueCodec
from feature_assets.online.item import WATERMARK_KEY
from feature_assets.online.store import OnlineStore, ReadFailure, ReadResult, TableReads
from feature_assets.serving.answer import Answer, Meta
from feature_assets.serving.lookup import Found, Ints, Reading, Served, failed, found
from feature_assets.serving.request import Entities, Needed, Request, parse_request
from feature_assets.serving.row_values import RowValues
from feature_assets.serving.status import Status
from feature_assets.serving.vector import Vector
from feature_assets.serving.versions import REMEMBERED, Serving, ServingVersions
from feature_assets.serving.watermarks import Watermarks
from feature_assets.serving.window_values import WindowValues

__all__ = ["Answer", "Entities", "Meta", "OnlineReader", "Status"]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A service, with everything about it that is the same for each request."""

    service: FeatureService
    needed: Needed
    views: tuple[tuple[Served, tuple[FeatureRef, ...]], ...]
    columns: tuple[str, ...]
    schema: pa.Schema

    @classmethod
    def of(cls, service: FeatureService) -> "_Compiled":
        refs = {view.name: tuple(ref for ref in service.refs if ref.view.name == view.name) for view in service.views}
        views = tuple(
            (Served(view, view_version(view), _reading(view, refs[view.name])), refs[view.name])
            for view in service.views
        )
        columns = service.output_columns
        schema = pa.schema([(column.name, column.dtype) for column in columns])
        return cls(service, Needed.of(service), views, tuple(schema.names), schema)


def _reading(view: FeatureView, refs: Sequence[FeatureRef]) -> Reading:
    wanted = {one.name for ref in refs for one in ref.selected}
    if view.aggregates:
        return WindowValues.of(layout_of(view), wanted)
    return RowValues(view, ValueCodec(view.features), frozenset(wanted))


@dataclass(frozen=True, slots=True)
class _Lookup:
    """What is asked of one view: distinct keys, and for each reference the key of each row (last: a row without)."""

    served: Served
    refs: tuple[FeatureRef, ...]
    keys: list[bytes]
    places: list[Ints]

    @classmethod
    def of(cls, served: Served, refs: tuple[FeatureRef, ...], request: Request) -> "_Lookup":
        if len(refs) == 1:
            keys = request.keys(refs[0])
            return cls(served, refs, keys.distinct, [keys.place])
        place: dict[bytes, int] = {}
        places = []
        for ref in refs:
            keys = request.keys(ref)
            # The last one is that of a row without a key, -1 in either numbering.
            among_all = np.array([*(place.setdefault(key, len(place)) for key in keys.distinct), -1], np.int64)
            places.append(among_all[keys.place])
        return cls(served, refs, list(place), places)

    def all_failed(self, serving: Serving | None, status: Status, reason: str, *, gone: bool = False) -> Found:
        """Nothing is known of any key."""
        return failed(self.served, serving, len(self.keys), status, reason, gone=gone)


@dataclass(frozen=True, slots=True)
class _Reading:
    """How one request reads: when, as of when (microseconds), and for how long at most."""

    now: datetime
    as_of: int
    consistent: bool
    deadline: float | None
    started: float

    def remaining(self) -> float | None:
        """Seconds left of the deadline; None without one."""
        return None if self.deadline is None else self.deadline - (time.monotonic() - self.started)


class OnlineReader:
    """Answers requests for a project's services from one online store. Keep it: what it has compiled is reused.

    With a `lake`, an older version that still serves is compared with the code's keys and features before it answers;
    without, only its features are, from what it stored.
    """

    def __init__(
        self,
        project: Project,
        online_store: OnlineStore,
        ledger: Ledger,
        clock: Clock,
        *,
        lake: Lake | None = None,
        remembered: timedelta = REMEMBERED,
    ) -> None:
        self._project = project
        self._store = online_store
        self._clock = clock
        self._versions = ServingVersions(ledger, online_store.target, clock, lake=lake, remembered=remembered)
        self._watermarks = Watermarks(remembered)
        self._compiled: dict[str, _Compiled] = {}

    def get(
        self,
        service: str,
        entities: Entities,
        *,
        as_of: datetime | None = None,
        consistent: bool = False,
        deadline: float | None = None,
    ) -> Answer:
        """The features of `entities`: one row per row, in order.

        `entities`: the service's key columns and request fields; others are left out; a null key finds nothing.
        `as_of`: the instant that ages and on-demand features are of; default: now. `consistent`: every write
        acknowledged before the call is seen. `deadline`: seconds; what is not read by then is `TIMEOUT`.

        Raises `InputError` and what is under it: for an unknown service, for entities that cannot be read as what the
        service needs, and for an `as_of` before an item was last written, as the store keeps no past.
        """
        compiled = self._of(service)
        now = self._clock.now()
        at = now if as_of is None else _instant(as_of)
        request = parse_request(entities, compiled.needed)
        lookups = [_Lookup.of(served, refs, request) for served, refs in compiled.views]
        answers = self._answers(lookups, _Reading(now, to_us(at), consistent, deadline, time.monotonic()))
        vector = Vector(request, at)
        meta = {}
        for lookup, answer in zip(lookups, answers, strict=True):
            version = None if answer.serving is None else answer.serving.version
            complete = None if answer.complete_through is None else from_us(answer.complete_through)
            for ref, place in zip(lookup.refs, lookup.places, strict=True):
                meta[ref.prefix] = Meta(version, at, complete, answer.items.of(place))
                vector.add_reference(ref, answer, place)
        if as_of is not None:
            _require_present(meta, at)
        for view in compiled.service.on_demand:
            vector.add_on_demand(view)
        codes = {name: vector.codes[name] for name in compiled.columns}
        table = vector.table(compiled.columns, compiled.schema)
        return Answer(compiled.service.name, at, table, meta, vector.failures, codes, request.columns)

    def _of(self, service: str) -> _Compiled:
        compiled = self._compiled.get(service)
        if compiled is None:
            compiled = self._compiled[service] = _Compiled.of(self._project.service(service))
        return compiled

    def _answers(self, lookups: Sequence[_Lookup], reading: _Reading) -> list[Found]:
        """What is known of each view's keys. A version that is not there as it was remembered is asked for anew."""
        resolved = [self._version(lookup) for lookup in lookups]
        asked = [(lookup, one) for lookup, one in zip(lookups, resolved, strict=True) if isinstance(one, Serving)]
        read = iter(self._read(asked, reading))
        first = [next(read) if isinstance(one, Serving) else one for one in resolved]
        return [self._settled(lookup, one, reading) for lookup, one in zip(lookups, first, strict=True)]

    def _settled(self, lookup: _Lookup, answer: Found, reading: _Reading) -> Found:
        """The answer, or that of the version that has taken over, if this one is gone."""
        tried: set[Serving] = set()
        while answer.gone and answer.serving is not None:
            tried.add(answer.serving)
            if answer.other:
                self._versions.reject(lookup.served.view, answer.serving.version)
            serving = self._version(lookup, fresh=True)
            if isinstance(serving, Found):
                return serving
            if serving in tried:
                break
            answer = self._read([(lookup, serving)], reading)[0]
        return answer

    def _version(self, lookup: _Lookup, *, fresh: bool = False) -> Serving | Found:
        """The version that answers for a view; else what is known without one, which is that nothing is."""
        view, current = lookup.served.view, lookup.served.version
        try:
            serving = self._versions.of(view, current, fresh=fresh)
        except FeatureAssetsError as error:
            return lookup.all_failed(None, Status.ERROR, f"which version answers cannot be told: {error}")
        if serving is None:
            what = f"no version of view {view.name!r} that fits the code serves on {self._store.target!r} yet"
            return lookup.all_failed(None, Status.LOADING, what)
        return serving

    def _read(self, asked: Sequence[tuple[_Lookup, Serving]], reading: _Reading) -> list[Found]:
        """One read per table, or one for all where the store can."""
        known = [
            self._watermarks.known(serving.table, lookup.served.view, reading.now, reading.as_of)
            for lookup, serving in asked
        ]
        requests = [
            (serving.table, lookup.keys if complete is not None else [*lookup.keys, WATERMARK_KEY])
            for (lookup, serving), complete in zip(asked, known, strict=True)
        ]
        several = len(requests) > 1 and all(keys for _, keys in requests)
        together = self._read_together(requests, reading) if several else None
        answers = []
        for number, (lookup, serving) in enumerate(asked):
            try:
                results = self._read_one(*requests[number], reading) if together is None else together[number]
            except OnlineError as error:
                self._watermarks.forget(serving.table)
                answers.append(_refused(lookup, serving, error))
            else:
                answers.append(self._found(lookup, serving, results, known[number], reading))
        return answers

    def _found(
        self,
        lookup: _Lookup,
        serving: Serving,
        results: Sequence[ReadResult],
        complete_through: int | None,
        reading: _Reading,
    ) -> Found:
        """What the store returned, with the watermark unless that was known to be `complete_through`."""
        if complete_through is None:
            *results, watermark = results
            if watermark is None:
                what = f"table {serving.table!r} holds no complete state"
                return lookup.all_failed(serving, Status.LOADING, what, gone=True)
            complete_through = self._watermarks.keep(serving.table, watermark, reading.now)
        return found(lookup.served, serving, results, as_of=reading.as_of, complete_through=complete_through)

    def _read_together(
        self, requests: Sequence[tuple[str, list[bytes]]], reading: _Reading
    ) -> list[list[ReadResult]] | None:
        """None if the store cannot, or refuses: then each table is read by itself, so that each fails by itself."""
        remaining = reading.remaining()
        if not isinstance(self._store, TableReads) or (remaining is not None and remaining <= 0):
            return None
        try:
            return self._store.read_tables(requests, consistent=reading.consistent, deadline=remaining)
        except OnlineError:
            return None

    def _read_one(self, table: str, keys: list[bytes], reading: _Reading) -> list[ReadResult]:
        if not keys:
            return []
        remaining = reading.remaining()
        if remaining is not None and remaining <= 0:
            return [ReadFailure.TIMEOUT] * len(keys)
        return self._store.read(table, keys, consistent=reading.consistent, deadline=remaining)


def _refused(lookup: _Lookup, serving: Serving, error: OnlineError) -> Found:
    """A whole table that could not be read. A missing one may have been retired since: it is gone."""
    status = Status.THROTTLED if isinstance(error, StoreThrottledError) else Status.ERROR
    return lookup.all_failed(serving, status, str(error), gone=isinstance(error, StoreRefusedError))


def _instant(as_of: datetime) -> datetime:
    if as_of.tzinfo is None:
        raise InputError(
            f"as_of: {as_of.isoformat()} has no time zone", hint="write it as UTC, e.g. datetime(..., tzinfo=UTC)"
        )
    return as_of.astimezone(UTC)


def _require_present(meta: dict[str, Meta], as_of: datetime) -> None:
    """Refuse an instant before an item was last written: what it held then is no longer in the store."""
    at = to_us(as_of)
    for prefix, one in meta.items():
        for row, item in enumerate(one.items):
            if item is not None and item.batch is not None and item.batch.sent_at > at:
                raise InputError(
                    f"as_of: {as_of.isoformat()} is before {prefix!r} of row {row} was last written, "
                    f"{from_us(item.batch.sent_at).isoformat()}",
                    hint="the online store keeps no past; ask the loader: FeatureStore.training_set",
                )
