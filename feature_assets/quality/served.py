"""What was served against what the loader says it would have been: logged answers, compared row by row and explained.

Invariant: rows are compared with a join as served at their own instants, of the same keys and request fields; a value
that differs has one cause, and one that no cause explains is called a matter of logic: the promise is that there is
none. A check of no rows is no evidence of anything.
It changes nothing, and asks no online store. It does not recompute an item at its cut: what was answered while a write
was under way, when a reader may see either state, is told apart and not judged.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.clock import OPEN, Clock
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService, OutputColumn
from feature_assets.definition.version import service_version, view_version
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger, LedgerRow
from feature_assets.offline.served_columns import AS_OF, REQUEST_ID, REQUEST_ROW, meta_column, status_column
from feature_assets.offline.served_table import ServedTable
from feature_assets.training.differences import same_values
from feature_assets.training.history import KnownVerdicts
from feature_assets.training.loader import training_set
from feature_assets.training.memory import DEFAULT_LIMIT

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

Cause = Literal["store", "version", "write_interval", "logic"]
"""The store did not say; another version of the view or service answered; a write was under way; none of these."""

EXAMPLES: Final = 20
_INSTANT: Final = "_as_of"
"""The column of instants of the rows that are joined: a name that nothing else can have."""
_UNKNOWN: Final = ("LOADING", "THROTTLED", "TIMEOUT", "ERROR")


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """A value that was answered, and what the loader says instead; as text."""

    request_id: str
    request_row: int
    as_of: datetime
    column: str
    status: str
    answered: str
    expected: str
    cause: Cause


class ServedCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison of logged rows found.

    `rows`: compared. `skipped`: rows without a key, or of another store. `mismatches`: values that differ, by cause.
    `examples`: some of them, those of logic first. `upto`: the last append that was looked at.
    """

    service: str
    upto: int
    rows: int
    skipped: int
    mismatches: Mapping[Cause, int]
    examples: tuple[Mismatch, ...]

    @property
    def passed(self) -> bool:
        """Whether something was compared, and nothing differs that is not explained."""
        return self.rows > 0 and not self.mismatches.get("logic")


def check_served(
    project: Project,
    service: str,
    *,
    lake: Lake,
    ledger: Ledger,
    verdicts: KnownVerdicts,
    target: str,
    clock: Clock,
    after: int = 0,
) -> ServedCheck:
    """Compare what was logged in the appends beyond number `after`. Raises what the loader raises."""
    chosen = project.service(service)
    log = ServedTable(lake, chosen)
    upto = log.head()
    logged = log.read(_columns(chosen, log), after=after, upto=upto)
    judged = logged.filter(_is_judged(chosen, log, logged, target))
    found: dict[Cause, int] = {}
    examples: list[Mismatch] = []
    if judged.num_rows:
        asked = {name: judged.column(column) for name, column in log.columns.asked.items()}
        joined = training_set(
            project,
            pa.table({**asked, _INSTANT: judged.column(AS_OF)}),
            service=service,
            timestamp=_INSTANT,
            lake=lake,
            ledger=ledger,
            verdicts=verdicts,
            target=target,
            clock=clock,
            memory_limit=DEFAULT_LIMIT,
        ).table
        causes = _Causes.of(chosen, judged, ledger, target)
        for one in chosen.output_columns:
            differing = ~same_values(judged.column(one.name), joined.column(one.name))
            # A column that the service did not have then was not answered.
            differing &= np.asarray(judged.column(status_column(one.name)).is_valid())
            for row in np.flatnonzero(differing).tolist():
                cause = causes.cause(one, judged, row)
                found[cause] = found.get(cause, 0) + 1
                if cause == "logic" or len(examples) < EXAMPLES:
                    examples.append(_mismatch(one.name, judged, joined, row, cause))
    examples.sort(key=lambda one: one.cause != "logic")
    return ServedCheck(
        service=service,
        upto=upto,
        rows=judged.num_rows,
        skipped=logged.num_rows - judged.num_rows,
        mismatches=found,
        examples=tuple(examples[:EXAMPLES]),
    )


def _columns(service: FeatureService, log: ServedTable) -> tuple[str, ...]:
    outputs = log.columns.outputs
    versions = [meta_column(ref.prefix, "version") for ref in service.refs]
    fixed = (REQUEST_ID, REQUEST_ROW, AS_OF, "service_version", "target")
    names = (*fixed, *log.columns.asked.values(), *outputs, *map(status_column, outputs), *versions)
    return tuple(dict.fromkeys(names))


def _is_judged(service: FeatureService, log: ServedTable, logged: pa.Table, target: str) -> pa.ChunkedArray:
    judged = pc.equal(logged.column("target"), target)
    for ref in service.refs:
        for column in ref.key_columns:
            judged = pc.and_(judged, logged.column(log.columns.asked[column]).is_valid())
    return judged


class _Causes(msgspec.Struct, frozen=True):
    """By prefix, which rows another version answered, and at whose instants a write was under way."""

    other: Mapping[str, Bools]
    writing: Mapping[str, Bools]

    @classmethod
    def of(cls, service: FeatureService, judged: pa.Table, ledger: Ledger, target: str) -> "_Causes":
        """Those of logged rows."""
        as_of = np.asarray(judged.column(AS_OF).cast(pa.int64()))
        changed = ~np.asarray(pc.equal(judged.column("service_version"), service_version(service)))
        other, writing = {}, {}
        for ref in service.refs:
            version = view_version(ref.view)
            told = pc.fill_null(pc.equal(judged.column(meta_column(ref.prefix, "version")), version), False)  # noqa: FBT003 - the value itself
            other[ref.prefix] = changed | ~np.asarray(told)
            writing[ref.prefix] = _inside(as_of, ledger.rows(view=ref.view.name, target=target))
        return cls(other, writing)

    def cause(self, column: OutputColumn, judged: pa.Table, row: int) -> Cause:
        """Why a value differs. What was computed at the request has the causes of every view."""
        prefixes = list(self.other) if column.ref is None else [column.ref.prefix]
        if judged.column(status_column(column.name))[row].as_py() in _UNKNOWN:
            return "store"
        if any(self.other[prefix][row] for prefix in prefixes):
            return "version"
        if any(self.writing[prefix][row] for prefix in prefixes):
            return "write_interval"
        return "logic"


def _inside(as_of: Ints, rows: list[LedgerRow]) -> Bools:
    """At which instants a write was under way: from its start to its acknowledgement, or to a later one of its bucket.

    A push that was never acknowledged may have been seen until the next one of the same bucket was.
    """
    inside = np.zeros(len(as_of), np.bool_)
    for at, one in enumerate(rows):
        if one.kind not in {"ack", "intent"}:
            continue
        later = (two.acked_at for two in rows[at:] if two.kind == "ack" and two.bucket == one.bucket)
        end = next((acked_at for acked_at in later if acked_at is not None), OPEN)
        inside |= (as_of >= one.sent_at) & (as_of <= end)
    return inside


def _mismatch(name: str, judged: pa.Table, joined: pa.Table, row: int, cause: Cause) -> Mismatch:
    return Mismatch(
        request_id=judged.column(REQUEST_ID)[row].as_py(),
        request_row=judged.column(REQUEST_ROW)[row].as_py(),
        as_of=judged.column(AS_OF)[row].as_py(),
        column=name,
        status=judged.column(status_column(name))[row].as_py(),
        answered=repr(judged.column(name)[row].as_py()),
        expected=repr(joined.column(name)[row].as_py()),
        cause=cause,
    )
