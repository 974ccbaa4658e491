"""One view in one role: what is known of an entity in it, from the item that answered and from the durable history.

Invariant: what cannot be read is told as such and leaves the rest as it is; with an item, it decides what counts, and
without one the ledger does.
It compares nothing and knows no other view.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from feature_assets.clock import duration_us, from_us, to_us
from feature_assets.compute.aggregates.layout import Use, layout_of
from feature_assets.compute.keys import encoded_keys
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureRef
from feature_assets.errors import CodecError, FeatureAssetsError
from feature_assets.offline.availability import DAY_US
from feature_assets.online.item import Item
from feature_assets.serving.answer import Meta
from feature_assets.serving.explain_events import Judged, Standing, event_of, events_of, judged
from feature_assets.serving.explain_history import EntityRows, Kept, rows_of
from feature_assets.serving.explain_item import Overheard
from feature_assets.serving.explain_offline import Missing, looked
from feature_assets.serving.explain_values import code_of_view, plain_rows
from feature_assets.serving.explain_windows import Tiled, earliest_of, spans_of, tiles_of, uses_of
from feature_assets.serving.explanation import Cause, Event, Events, Freshness, Limits, StoredItem, ViewExplained
from feature_assets.serving.freshness import SERVED
from feature_assets.serving.request import Request
from feature_assets.serving.versions import serving_versions
from feature_assets.training.history import History
from feature_assets.training.point_in_time import Looked
from feature_assets.training.spine import Spine


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of every view: one entity, an instant (microseconds), and where to look. `position`: the ledger's.

    `overheard`: what the reader read; None if the store was not asked.
    """

    request: Request
    spine: Spine
    as_of: int
    limits: Limits
    history: History
    position: int
    overheard: Overheard | None = None

    def key(self, ref: FeatureRef) -> pa.Table | None:
        """The entity's key, as a row of its columns; None if it has a null."""
        columns = {key: self.request.columns[column] for key, column in ref.key_map}
        return None if any(column.null_count for column in columns.values()) else pa.table(columns)

    def shown_key(self, ref: FeatureRef) -> dict[str, object]:
        """The key, for people."""
        return plain_rows(pa.table({key: self.request.columns[column] for key, column in ref.key_map}))[0]


@dataclass(frozen=True)
class Looking:
    """A reference, looked at. `wanted`: output columns; only windows of these are told.

    `meta`, `failure`: of the reader's answer; None and empty if the store was not asked.
    """

    asked: Asked
    ref: FeatureRef
    wanted: frozenset[str]
    meta: Meta | None
    failure: str

    @cached_property
    def key(self) -> pa.Table | None:
        """The key; None if it has a null."""
        return self.asked.key(self.ref)

    @cached_property
    def version(self) -> str:
        """The version of the code."""
        return view_version(self.ref.view)

    @cached_property
    def answered(self) -> str | None:
        """The version that answered; of the past, the one that served then. None if none did."""
        if self.meta is not None:
            return self.meta.version
        asked, view = self.asked, self.ref.view
        rows = asked.history.ledger.rows(view=view.name, target=asked.history.target, upto=asked.position)
        serving = serving_versions([row for row in rows if row.acked_at is None or row.acked_at <= asked.as_of])
        names = [one.version for one in serving]
        return self.version if self.version in names else next(reversed(names), None)

    # ----------------------------------------------------------------------------------------------------- the item
    @cached_property
    def _read(self) -> tuple[str, bytes, Overheard] | None:
        """The table and the key that the reader read, if it did."""
        overheard = self.asked.overheard
        if overheard is None or self.key is None or self.answered is None:
            return None
        table = overheard.table_of(self.ref.view.name, self.answered)
        key = encoded_keys(self.key, self.ref.view.entity.key_names)[0]
        return None if table is None else (table, key, overheard)

    @cached_property
    def item(self) -> Item | None:
        """The item; an empty one if there surely is none, None where that is not known or was not asked."""
        if self._read is None:
            return None
        table, key, overheard = self._read
        return overheard.item(table, key)

    @cached_property
    def stored(self) -> StoredItem | None:
        """What there is to tell of it."""
        if self._read is None or self.key is None:
            return None
        table, key, overheard = self._read
        return overheard.told(table, key, self.key)

    @property
    def commit(self) -> int:
        """The commit that the item's batch section is of; 0 without one."""
        return 0 if self.item is None else self.item.cut.n

    # -------------------------------------------------------------------------------------------------- the history
    @cached_property
    def kept(self) -> Kept | Missing:
        """The version whose rows explain the answer: the one that gave it, else the code's."""
        return self._kept(self._told_of)

    @cached_property
    def of_code(self) -> Kept | Missing:
        """The version that training computes with."""
        return self.kept if self._told_of == self.version else self._kept(self.version)

    @property
    def _told_of(self) -> str:
        return self.version if self.meta is None or self.answered is None else self.answered

    def _kept(self, version: str) -> Kept | Missing:
        if self.key is None:
            return Missing(Cause.NO_KEY, "the key has a null")
        try:
            return Kept.of(self.ref.view, version, self.asked.history, self.asked.position)
        except FeatureAssetsError as error:
            return Missing(Cause.NO_HISTORY, str(error))

    @cached_property
    def rows(self) -> EntityRows | Missing:
        """The entity's rows, of the version that answered."""
        row = None if self.item is None or self.item.batch is None else self.item.batch.row
        return self._rows(self.kept, "" if row is None else row.partition)

    def _rows(self, kept: Kept | Missing, partition: str) -> EntityRows | Missing:
        """`partition`: a day that must have been looked at."""
        if isinstance(kept, Missing) or self.key is None:
            return kept if isinstance(kept, Missing) else Missing(Cause.NO_KEY, "the key has a null")

        def enough(found: EntityRows) -> bool:
            seen = found.event_at[found.visible(self.asked.as_of)]
            return found.since is not None and found.since <= (partition or found.since) and _is_final(seen, found)

        view = self.ref.view
        try:
            if view.aggregates:
                since = earliest_of(layout_of(view), self.asked.as_of)
                # A day more, to show what has just left.
                since = None if since is None else since - DAY_US
                return rows_of(kept, self.key, view.stored_names, self.asked.limits, since=since)
            return rows_of(kept, self.key, self.shown, self.asked.limits, enough=enough)
        except FeatureAssetsError as error:
            return Missing(Cause.NO_HISTORY, str(error))

    @cached_property
    def trained(self) -> Looked | Missing:
        """What the loader finds."""
        kept = self.of_code
        rows = self.rows if kept is self.kept else self._rows(kept, "")
        if isinstance(kept, Missing) or isinstance(rows, Missing) or self.key is None:
            return rows if isinstance(rows, Missing) else Missing(Cause.NO_KEY, "the key has a null")
        visible = rows.event_at[rows.visible(self.asked.as_of)]
        if not rows.complete and (self.ref.view.aggregates or not len(visible)):
            return Missing(Cause.LIMIT, f"the {self.asked.limits.partitions} newest days and what is in them")
        if self.ref.view.aggregates:
            start = earliest_of(layout_of(self.ref.view), self.asked.as_of)
        else:
            start = int(visible.max()) if len(visible) else self.asked.as_of
        try:
            return looked(kept, self.ref, self.asked.spine, self.key, start)
        except FeatureAssetsError as error:
            return Missing(Cause.NO_HISTORY, str(error))

    # ------------------------------------------------------------------------------------------------- what it says
    @cached_property
    def uses(self) -> tuple[Use, ...]:
        """The features that are wanted and aggregates."""
        return tuple(use for use in uses_of(self.ref) if self.ref.column(use.feature.name) in self.wanted)

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The columns of the history that make the wanted features: rows that are alike in these are alike."""
        view = self.ref.view
        if view.aggregates:
            needed = {column for use in self.uses for column in use.aggregate.columns}
        else:
            needed = {one.name for one in self.ref.selected if self.ref.column(one.name) in self.wanted}
        return tuple(name for name in view.stored_names if name in needed)

    @cached_property
    def standing(self) -> Standing:
        """What counts."""
        rows, kept, at = self.rows, self.kept, self.asked.as_of
        in_item = None
        if not isinstance(rows, Missing) and not isinstance(kept, Missing) and self.item is not None:
            in_item = rows.of_state(kept.newest(self.commit))
        if self.ref.view.aggregates:
            return Standing(at, in_item, spans=spans_of(self.uses, at))
        ttl = None if self.ref.view.ttl is None else duration_us(self.ref.view.ttl)
        return Standing(at, in_item, winner=self._winner(in_item), ttl=ttl)

    def _winner(self, in_item: "np.ndarray[tuple[int], np.dtype[np.bool_]] | None") -> int | None:
        """The place of the row that answers: the item's, else the greatest that is visible."""
        rows = self.rows
        if isinstance(rows, Missing):
            return None
        if in_item is None:
            visible = rows.visible(self.asked.as_of)
            return next((place for place in rows.newest_first.tolist() if visible[place]), None)
        row = None if self.item is None or self.item.batch is None else self.item.batch.row
        if row is None:
            return None
        same = in_item & (rows.event_at == row.event_at) & (rows.sequence == row.sequence)
        places = (place for place in np.flatnonzero(same).tolist() if rows.versions[place][0] == row.partition)
        return next(places, None)

    @cached_property
    def found(self) -> Sequence[Judged]:
        """The entity's rows as events, the newest first."""
        return [] if isinstance(self.rows, Missing) else judged(self.rows, self.standing, self.shown)

    @cached_property
    def winner(self) -> Event | None:
        """The row that answers, of a view of rows; also one that has expired."""
        if isinstance(self.rows, Missing) or self.standing.winner is None:
            return None
        event = next(one for one in self.found if self.standing.winner in one.rows)
        return event_of(event, self.rows, self.standing, self.shown)

    @cached_property
    def tiled(self) -> Tiled | None:
        """The tiles of a view of aggregates; None where there is nothing that tells them."""
        if not self.ref.view.aggregates:
            return None
        layout, rows = layout_of(self.ref.view), self.rows
        if self.item is not None:
            try:
                return Tiled.of_item(layout, self.item)
            except CodecError:
                return None
        if self.meta is not None or isinstance(rows, Missing) or not rows.complete:
            return None
        return Tiled.of_rows(layout, rows, np.flatnonzero(rows.visible(self.asked.as_of)), self.asked.as_of)

    @cached_property
    def freshness(self) -> Freshness:
        """How far the view is; of the past, by the ledger."""
        through = None
        if self.meta is not None:
            through = self.meta.complete_through
        elif not isinstance(self.kept, Missing):
            us = self.kept.published_through(self.asked.as_of)
            through = None if us is None else from_us(us)
        view, at = self.ref.view, from_us(self.asked.as_of)
        stale = SERVED.is_stale(view, None if through is None else to_us(through), self.asked.as_of)
        return Freshness(
            complete_through=through,
            behind=None if through is None else (at - through).total_seconds(),
            objective=None if view.freshness is None else view.freshness.total_seconds(),
            # Of a past in which nothing was published, nobody was told anything.
            stale=stale and (self.meta is not None or through is not None),
        )

    @property
    def _events(self) -> Events | None:
        if isinstance(self.rows, Missing):
            return None
        return events_of(self.found, self.rows, self.standing, self.shown, self.asked.limits)

    def told(self) -> ViewExplained:
        """All of it."""
        ref, asked = self.ref, self.asked
        tiles, total = ((), 0) if self.tiled is None else tiles_of(self.uses, self.tiled, asked.as_of, asked.limits)
        return ViewExplained(
            view=ref.view.name,
            keys=asked.shown_key(ref),
            code=code_of_view(ref.view),
            answered=self.answered,
            is_current=self.answered == self.version,
            ttl=None if ref.view.ttl is None else ref.view.ttl.total_seconds(),
            freshness=self.freshness,
            item=self.stored,
            winner=self.winner,
            events=self._events,
            tiles=tiles,
            tiles_total=total,
            failure=self.failure,
            history_failure=self.rows.reason if isinstance(self.rows, Missing) else "",
        )


def _is_final(visible: "np.ndarray[tuple[int], np.dtype[np.int64]]", found: EntityRows) -> bool:
    """Whether the greatest of the visible rows is beaten by nothing in days that were not looked at."""
    if not len(visible) or found.since is None:
        return False
    # Rows of earlier days are at or before the start of the first day looked at.
    return int(visible.max()) > int(np.datetime64(found.since, "us").astype(np.int64))
