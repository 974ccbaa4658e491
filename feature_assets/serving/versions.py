"""Which version of a view answers on a store: by the ledger, remembered for a short while.

Invariant: a version answers only while the ledger says that it serves there; the code's own if it does, else the newest
one with the same keys and features. Whether it has them must be known: a lake that cannot be read is no fit. Where the
ledger or that cannot be read, the last known answer stands while it still serves; without one nothing answers.
It reads the ledger, and of other versions than the code's the schema of their tables; it reads no items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from feature_assets.clock import Clock
from feature_assets.compute.engine import view_schema
from feature_assets.definition.view import FeatureView
from feature_assets.errors import OfflineError
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger, LedgerRow, valid
from feature_assets.offline.stored import stored_schema
from feature_assets.offline.table import feature_table
from feature_assets.online.item import table_name

REMEMBERED = timedelta(seconds=5)
"""How long a new version may serve before every reader has noticed."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A version that serves, in one of its lives, and the table that it has in the store for it."""

    version: str
    table: str


@dataclass(frozen=True, slots=True)
class _Known:
    at: datetime
    serving: Serving | None


class ServingVersions:
    """The versions that serve on `target`. Safe to share between threads.

    With a `lake`, the keys and features of other versions than the code's are looked up in it. Without, they are taken
    to be the same: items still say which features they hold, so that only other keys would go unnoticed.
    """

    def __init__(
        self, ledger: Ledger, target: str, clock: Clock, *, lake: Lake | None = None, remembered: timedelta = REMEMBERED
    ) -> None:
        self._ledger = ledger
        self._target = target
        self._clock = clock
        self._lake = lake
        self._remembered = remembered
        self._known: dict[str, _Known] = {}
        self._looking_up: set[str] = set()
        self._fit: dict[tuple[str, str], bool] = {}

    def of(self, view: FeatureView, current: str, *, fresh: bool = False) -> Serving | None:
        """The version that answers; None if none does. `current`: the code's. `fresh`: ask the ledger in any case.

        Raises `OfflineError` if the ledger cannot be read, or not what the version that serves consists of, and nothing
        is known from before.
        """
        now = self._clock.now()
        known = self._known.get(view.name)
        # While one request looks it up, the others don't wait for the ledger: what is known still stands.
        if known is not None and not fresh and (view.name in self._looking_up or self._is_recent(known, now)):
            return known.serving
        self._looking_up.add(view.name)
        try:
            serving = self._looked_up(view, current, known)
        finally:
            self._looking_up.discard(view.name)
        self._known[view.name] = _Known(now, serving)
        return serving

    def is_known(self, view: FeatureView) -> bool:
        """Whether `of` answers from memory."""
        known = self._known.get(view.name)
        return known is not None and (view.name in self._looking_up or self._is_recent(known, self._clock.now()))

    def _is_recent(self, known: _Known, now: datetime) -> bool:
        return timedelta(0) <= now - known.at < self._remembered

    def _looked_up(self, view: FeatureView, current: str, known: _Known | None) -> Serving | None:
        try:
            candidates = serving_versions(self._ledger.rows(view=view.name, target=self._target))
        except OfflineError:
            if known is None:
                raise
            return known.serving
        try:
            return self._chosen(view, current, candidates)
        except OfflineError:
            # That none answered is no knowledge about one that has begun to serve since.
            if known is None or known.serving not in candidates:
                raise
            return known.serving

    def reject(self, view: FeatureView, version: str) -> None:
        """Remember that a version was seen to hold other features than the code declares."""
        self._fit[view.name, version] = False

    def _chosen(self, view: FeatureView, current: str, serving: Sequence[Serving]) -> Serving | None:
        own = next((one for one in serving if one.version == current), None)
        return own or next((one for one in reversed(serving) if self._fits(view, one.version)), None)

    def _fits(self, view: FeatureView, version: str) -> bool:
        """Whether another version has the code's keys and features. Raises `OfflineError` if the lake cannot say."""
        known = self._fit.get((view.name, version))
        if known is not None or self._lake is None:
            return known is not False
        try:
            there = self._lake.exists("features", view.name, version)
            stored = feature_table(self._lake, view, version).schema if there else None
        except OfflineError as error:
            raise _unknown(view, version, error.message) from error
        if stored is None:
            raise _unknown(view, version, "the lake has no table of it")
        # In order: the order of keys and of features is part of what is in an item.
        wanted = stored_schema(view_schema(view), f"view {view.name!r}")
        same = [(one.name, one.type) for one in stored] == [(one.name, one.type) for one in wanted]
        self._fit[view.name, version] = same
        return same


def _unknown(view: FeatureView, version: str, why: str) -> OfflineError:
    return OfflineError(
        f"view {view.name!r}: version {version} serves, and whether it has the keys and features of the code cannot be "
        f"told: {why}",
        hint="make its table in the lake readable (docs/operations.md), or push the code's own version",
    )


def serving_versions(rows: Sequence[LedgerRow]) -> list[Serving]:
    """The versions that serve, by all ledger rows of one view and target: the last to start (again) comes last."""
    serving: dict[str, Serving] = {}
    for row in valid(rows):
        if row.kind in {"serving", "retired"}:
            serving.pop(row.version, None)
        if row.kind == "serving":
            serving[row.version] = Serving(row.version, table_name(row.view, row.version, row.life))
    return list(serving.values())
