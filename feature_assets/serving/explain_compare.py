"""Online against offline: whether an answer is what a training row of the same instant holds, and if not, why.

Invariant: a cause is only named on evidence: another version, a store that did not answer, an item of another state
than the ledger says was acknowledged. What none of these explains is said to be unexplained.
It reads nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from feature_assets.definition.service import OutputColumn
from feature_assets.serving.explain_meanings import CAUSES
from feature_assets.serving.explain_offline import Missing, Trained
from feature_assets.serving.explain_values import plain_values
from feature_assets.serving.explain_view import Looking
from feature_assets.serving.explanation import Cause, Offline
from feature_assets.serving.status import Status
from feature_assets.training.differences import same_values


@dataclass(frozen=True, slots=True)
class Online:
    """What was answered: one value and status by output column. None of it if the store was not asked."""

    table: pa.Table
    status: Mapping[str, Status]
    failures: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """An answer, a training row, and what they were made from. `online` None: of an instant in the past."""

    online: Online | None
    trained: Trained
    looking: Mapping[str, Looking]

    def of(self, column: OutputColumn) -> Offline:
        """The training row's value, and whether the answer agrees."""
        prefix = column.ref.prefix if column.ref is not None else ""
        value = self.trained.values.get(column.name)
        agrees, cause, reason = self._judged(column, value)
        return Offline(
            value=None if value is None else plain_values(value)[0],
            event_at=self.trained.event_at(prefix),
            availability=self.trained.availability(prefix),
            agrees=agrees,
            cause=cause,
            reason=reason or ("" if cause is None else CAUSES[cause]),
        )

    def _judged(self, column: OutputColumn, value: pa.ChunkedArray | None) -> tuple[bool | None, Cause | None, str]:
        if self.online is None:
            return None, Cause.IN_THE_PAST, ""
        if self.online.status[column.name].is_unknown:
            return None, *self._unknown(column)
        if value is None:
            return None, *self._missing(column)
        if bool(same_values(self.online.table.column(column.name), value)[0]):
            return True, None, ""
        return False, self._cause(column), ""

    def _unknown(self, column: OutputColumn) -> tuple[Cause, str]:
        """Why the answer is unknown."""
        assert self.online is not None  # noqa: S101 - asked only where there is an answer
        prefix = column.ref.prefix if column.ref is not None else column.name.partition("__")[0]
        reason = self.online.failures.get(prefix, "")
        if column.on_demand is not None:
            return (Cause.FUNCTION, reason) if reason else (Cause.INPUT, "")
        loading = self.online.status[column.name] is Status.LOADING
        return Cause.LOADING if loading else Cause.STORE_FAILURE, reason

    def _missing(self, column: OutputColumn) -> tuple[Cause, str]:
        """Why the training row has no value."""
        if column.on_demand is not None:
            reason = self.trained.failures.get(column.on_demand.name)
            return (Cause.INPUT, "") if reason is None else (Cause.FUNCTION, reason)
        found = None if column.ref is None else self.trained.looked.get(column.ref.prefix)
        return (found.cause, found.reason) if isinstance(found, Missing) else (Cause.NO_HISTORY, "")

    def _cause(self, column: OutputColumn) -> Cause:
        """Why both differ."""
        if column.ref is None:
            return Cause.INPUT if self._inputs_differ(column) else Cause.UNEXPLAINED
        return cause_of(self.looking[column.ref.prefix])

    def _inputs_differ(self, column: OutputColumn) -> bool:
        if column.on_demand is None or self.online is None:
            return False
        return any(
            name in self.online.table.column_names
            and (
                name not in self.trained.values
                or not bool(same_values(self.online.table.column(name), self.trained.values[name])[0])
            )
            for name in column.on_demand.inputs
        )


def cause_of(looking: Looking) -> Cause:
    """Why a view's answer is another than training's, by which state its item is of."""
    kept, rows = looking.kept, looking.rows
    if looking.answered != looking.version:
        return Cause.OTHER_VERSION
    if isinstance(kept, Missing) or isinstance(rows, Missing) or looking.key is None:
        return Cause.NO_HISTORY
    stored = kept.newest(looking.commit)
    acknowledged = kept.visible_versions(kept.bucket(looking.key), looking.asked.as_of)
    days = {rows.versions[row][0] for event in looking.found if event.in_item != event.visible for row in event.rows}
    if any(stored.get(day, 0) > acknowledged.get(day, 0) for day in days):
        return Cause.WRITE_INTERVAL
    if any(stored.get(day, 0) < acknowledged.get(day, 0) for day in days):
        gone = looking.stored is not None and not looking.stored.found
        return Cause.ITEM_GONE if gone else Cause.ITEM_BEHIND
    streams = None if looking.item is None else looking.item.streams
    return Cause.STREAMED if streams is not None and streams.state else Cause.UNEXPLAINED
