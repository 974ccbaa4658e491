"""`OnlineReader`: the features of a service for some entities, as the online store has them now.

Invariant: an entity asked for twice, or in two roles, is read once, and each table in one read. The failure of one view
leaves the others as they are, and becomes a status: only what the caller did wrong is raised.
It writes nothing and caches no values: only which version of a view answers, and how fresh it is, for a short while.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

from feature_assets.clock import Clock, from_us, to_us
from feature_assets.definition.project import Project
from feature_assets.errors import (
    FeatureAssetsError,
    InputError,
    OnlineError,
    StaleFeaturesError,
    StoreRefusedError,
    StoreThrottledError,
)
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger
from feature_assets.online.item import WATERMARK_KEY
from feature_assets.online.store import OnlineStore, ReadsAtOnce
from feature_assets.serving.answer import Answer, Meta
from feature_assets.serving.compiled import Compiled, Lookup
from feature_assets.serving.freshness import SERVED, Freshness
from feature_assets.serving.lookup import Found, Ints, Sorting, Values, found
from feature_assets.serving.reads import ItemReads, ReadOptions, StoreReads, TableRead
from feature_assets.serving.request import Entities, parse_request
from feature_assets.serving.stages import Stages
from feature_assets.serving.status import Status, unknown
from feature_assets.serving.values import values_of
from feature_assets.serving.vector import Vector
from feature_assets.serving.versions import REMEMBERED, Serving, ServingVersions
from feature_assets.serving.watermarks import Watermarks

__all__ = ["Answer", "Entities", "Meta", "OnlineReader", "Status"]


_NOBODY: Final = b"\x00nobody"
"""A key that no entity has: an encoded key starts with a MessagePack array's first byte."""


class _Reading(msgspec.Struct, frozen=True, eq=False):
    """How one request reads: when, as of when (microseconds), and what it asks of the store."""

    now: datetime
    as_of: int
    freshness: Freshness
    options: ReadOptions
    stages: Stages


class OnlineReader:
    """Answers requests for a project's services from one online store. Keep it: what it has compiled is reused.

    With a `lake`, an older version that still serves is compared with the code's keys and features before it answers;
    without, only its features are, from what it stored. `reads`: what stands between the reader and the store; None:
    nothing does.
    """

    def __init__(
        self,
        project: Project,
        online_store: OnlineStore,
        ledger: Ledger,
        clock: Clock,
        *,
        lake: Lake | None = None,
        reads: ItemReads | None = None,
        remembered: timedelta = REMEMBERED,
    ) -> None:
        self._project = project
        self._target = online_store.target
        self._reads_at_once = isinstance(online_store, ReadsAtOnce) and online_store.reads_at_once
        self._reads = reads or StoreReads(online_store)
        self._clock = clock
        self._versions = ServingVersions(ledger, self._target, clock, lake=lake, remembered=remembered)
        self._watermarks = Watermarks(remembered)
        self._compiled: dict[str, Compiled] = {}

    def get(
        self,
        service: str,
        entities: Entities,
        *,
        as_of: datetime | None = None,
        consistent: bool = False,
        deadline: float | None = None,
        freshness: Freshness = SERVED,
        request_id: str = "",
    ) -> Answer:
        """The features of `entities`: one row per row, in order.

        `entities`: the service's key columns and request fields; others are left out; a null key finds nothing.
        `as_of`: the instant that ages and on-demand features are of; default: now. `consistent`: every write
        acknowledged before the call is seen. `deadline`: seconds; what is not read by then is `TIMEOUT`.
        `freshness`: how stale a view may be, and what becomes of one that is staler.

        Raises `StaleFeaturesError` if `freshness` says so; `InputError` and what is under it for an unknown service,
        for entities that cannot be read as what the service needs, and for an `as_of` before an item was last written,
        as the store keeps no past.
        """
        stages = Stages()
        compiled = self._of(service)
        now = self._clock.now()
        at = now if as_of is None else _instant(as_of)
        request = parse_request(entities, compiled.needed)
        lookups = compiled.lookups(request)
        options = ReadOptions.within(deadline, consistent=consistent, max_age=freshness.seconds)
        answers = self._answers(lookups, _Reading(now, to_us(at), freshness, options, stages))
        if freshness.on_stale == "error":
            _require_fresh(lookups, answers, at)
        vector = Vector(request, at, stale_is_null=freshness.on_stale == "null")
        meta = {}
        for lookup, answer in zip(lookups, answers, strict=True):
            version = None if answer.serving is None else answer.serving.version
            complete = None if answer.complete_through is None else from_us(answer.complete_through)
            for ref, place in zip(lookup.refs, lookup.places, strict=True):
                meta[ref.prefix] = Meta(version, at, complete, answer.items.of(place), answer.read_before(place))
                vector.add_reference(ref, answer, place)
        if as_of is not None:
            _require_present(meta, at)
        for view in compiled.service.on_demand:
            vector.add_on_demand(view)
        columns = {name: vector.values[name] for name in compiled.columns}
        codes = {name: vector.codes[name] for name in compiled.columns}
        stages.ended("transform")
        return Answer(
            compiled.service.name,
            at,
            columns,
            compiled.schema,
            meta,
            vector.failures,
            codes,
            request,
            stages,
            request_id,
        )

    def standing(self, service: str, deadline: float | None = None) -> dict[str, str]:
        """By view, why nothing can be known of it now; empty if the service can be answered. What it compiles is kept.

        Raises `UnknownNameError`.
        """
        compiled = self._of(service)
        now = self._clock.now()
        # Keys that nobody has: the tables are read, and found without them.
        lookups = [Lookup(served, refs, [_NOBODY], []) for served, refs in compiled.views]
        reading = _Reading(now, to_us(now), SERVED, ReadOptions.within(deadline), Stages())
        answers = self._answers(lookups, reading)
        return {
            lookup.served.view.name: answer.reason or "nothing is known of it"
            for lookup, answer in zip(lookups, answers, strict=True)
            if unknown(answer.codes[:1]).any()
        }

    def answers_at_once(self, service: str) -> bool:
        """Whether an answer now waits for nobody: the store is at hand, versions are known, and it is our code alone.

        Raises `UnknownNameError`.
        """
        compiled = self._of(service)
        if not self._reads_at_once or compiled.service.on_demand:
            return False
        return all(self._versions.is_known(served.view) for served, _ in compiled.views)

    def _of(self, service: str) -> Compiled:
        compiled = self._compiled.get(service)
        if compiled is None:
            compiled = self._compiled[service] = Compiled.of(self._project.service(service))
        return compiled

    def _answers(self, lookups: Sequence[Lookup], reading: _Reading) -> list[Found]:
        """What is known of each view's keys. A version that is not there as it was remembered is asked for anew."""
        resolved = [self._version(lookup) for lookup in lookups]
        asked = [(lookup, one) for lookup, one in zip(lookups, resolved, strict=True) if isinstance(one, Serving)]
        read = iter(self._read(asked, reading))
        first = [next(read) if isinstance(one, Serving) else one for one in resolved]
        return [self._settled(lookup, one, reading) for lookup, one in zip(lookups, first, strict=True)]

    def _settled(self, lookup: Lookup, answer: Found, reading: _Reading) -> Found:
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

    def _version(self, lookup: Lookup, *, fresh: bool = False) -> Serving | Found:
        """The version that answers for a view; else what is known without one, which is that nothing is."""
        view, current = lookup.served.view, lookup.served.version
        try:
            serving = self._versions.of(view, current, fresh=fresh)
        except FeatureAssetsError as error:
            return lookup.all_failed(None, Status.ERROR, f"which version answers cannot be told: {error}")
        if serving is None:
            what = f"no version of view {view.name!r} that fits the code serves on {self._target!r} yet"
            return lookup.all_failed(None, Status.LOADING, what)
        return serving

    def _read(self, asked: Sequence[tuple[Lookup, Serving]], reading: _Reading) -> list[Found]:
        """What the tables say, and the watermarks where they could change the answer."""
        known = [
            self._watermarks.known(serving.table, lookup.served.view, reading.now, reading.as_of, reading.freshness)
            for lookup, serving in asked
        ]
        requests = [
            (serving.table, lookup.keys if complete is not None else [*lookup.keys, WATERMARK_KEY])
            for (lookup, serving), complete in zip(asked, known, strict=True)
        ]
        reading.stages.ended("plan")
        read = self._reads.read_all(requests, reading.options)
        reading.stages.ended("read")
        opened = [
            self._opened(lookup, serving, one, complete, reading)
            for (lookup, serving), one, complete in zip(asked, read, known, strict=True)
        ]
        found = [one for one in opened if isinstance(one, _Opened)]
        bodies = [(one.lookup.served.reading, one.sorting.known_bodies) for one in found]
        values = iter(values_of(bodies, reading.as_of, reading.stages))
        answers = [one.found(next(values), reading) if isinstance(one, _Opened) else one for one in opened]
        reading.stages.ended("decode")
        return answers

    def _opened(
        self,
        lookup: Lookup,
        serving: Serving,
        read: TableRead,
        complete_through: int | None,
        reading: _Reading,
    ) -> "_Opened | Found":
        """What the store returned, with the watermark unless that was known to be `complete_through`."""
        if read.error is not None:
            self._watermarks.forget(serving.table)
            return _refused(lookup, serving, read.error)
        results, ages = read.results, read.ages
        if complete_through is None:
            *results, watermark = results
            ages = None if ages is None else ages[:-1]
            if watermark is None:
                what = f"table {serving.table!r} holds no complete state"
                return lookup.all_failed(serving, Status.LOADING, what, gone=True)
            complete_through = self._watermarks.keep(serving.table, watermark, reading.now)
        return _Opened(lookup, serving, Sorting.of(results), ages, complete_through)


class _Opened(msgspec.Struct, frozen=True, eq=False):
    """Items that were read for a lookup, their values still packed."""

    lookup: Lookup
    serving: Serving
    sorting: Sorting
    ages: Ints | None
    complete_through: int | None

    def found(self, values: Values, reading: _Reading) -> Found:
        """With their values."""
        served = self.lookup.served
        stale = reading.freshness.is_stale(served.view, self.complete_through, reading.as_of)
        known = found(served, self.serving, self.sorting, values, complete_through=self.complete_through, stale=stale)
        return known if self.ages is None else replace(known, ages=self.ages)


def _refused(lookup: Lookup, serving: Serving, error: OnlineError) -> Found:
    """A whole table that could not be read. A missing one may have been retired since: it is gone."""
    status = Status.THROTTLED if isinstance(error, StoreThrottledError) else Status.ERROR
    return lookup.all_failed(serving, status, str(error), gone=isinstance(error, StoreRefusedError))


def _require_fresh(lookups: Sequence[Lookup], answers: Sequence[Found], as_of: datetime) -> None:
    """Raise for every view at once of which a value is staler than it may be."""
    stale = [
        f"{lookup.served.view.name!r} is complete through {_said(answer.complete_through)}"
        for lookup, answer in zip(lookups, answers, strict=True)
        if (answer.codes == Status.STALE.code).any()
    ]
    if stale:
        raise StaleFeaturesError(
            f"as of {as_of.isoformat()}, staler than may be: view {'; view '.join(stale)}",
            hint="ask again later, or with a longer max_age, or with on_stale 'serve' or 'null'",
        )


def _said(instant: int | None) -> str:
    return "no known time" if instant is None else from_us(instant).isoformat()


def _instant(as_of: datetime) -> datetime:
    if as_of.tzinfo is None:
        raise InputError(
            f"as_of: {as_of.isoformat()} has no time zone", hint="write it as UTC, e.g. datetime(..., tzinfo=UTC)"
        )
    try:
        return as_of.astimezone(UTC)
    except OverflowError as error:
        raise InputError(
            f"as_of: {as_of.isoformat()} has no UTC in the calendar",
            hint="give an instant of the years 1 to 9999 in UTC",
        ) from error


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
