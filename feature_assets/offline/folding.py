"""Folding: the availability that the ledger resolves to, as values for the rows of a feature table.

Invariant: what is folded is what the loader resolves at the same ledger position, for one target store; it is a copy
for readers that know Delta only, and nothing in this project reads it back. It writes nothing.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.clock import OPEN
from feature_assets.definition.view import FeatureView
from feature_assets.offline.availability import Timeline, timeline
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger, LedgerRow, previous_version
from feature_assets.offline.rewrite import Change
from feature_assets.offline.selection import MARKER_ROW
from feature_assets.offline.source_positions import is_comparable
from feature_assets.offline.stored import TIME
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdicts, settled_head

FOLDED = ("available_at", "superseded_at")


def folding(lake: Lake, view: FeatureView, version: str, *, ledger: Ledger, target: str) -> Change:
    """What gives the rows of a view version their `available_at` and `superseded_at` on `target`; null: not, or never.

    Rows of commits whose verdicts are not all known yet get none.
    """
    rows = ledger.rows(view=view.name, target=target)
    line, settled = _timeline_of(lake, view, version, rows)

    def fold(part: pa.Table) -> pa.Table:
        commit_seq = part.column("commit_seq").to_numpy()
        known = (commit_seq <= settled) & (part.column("row").to_numpy() != MARKER_ROW)
        kept = part.filter(pa.array(known))
        resolved = line.resolve_batch(
            commit_seq=commit_seq[known],
            bucket=kept.column("bucket").to_numpy().astype(np.int64),
            partition=kept.column("partition"),
            arrived_at=kept.column("arrived_at").cast(pa.int64()).to_numpy(),
        )
        for name, values in zip(FOLDED, (resolved.available_at, resolved.superseded_at), strict=True):
            whole = np.full(part.num_rows, OPEN)
            whole[known] = values
            part = part.set_column(part.schema.get_field_index(name), part.schema.field(name), _times(whole))
        return part

    return fold


def _timeline_of(lake: Lake, view: FeatureView, version: str, rows: Sequence[LedgerRow]) -> tuple[Timeline, int]:
    """The timeline of a version, on top of those of the versions that served before it, and how far it is settled."""
    table, verdicts = feature_table(lake, view, version), Verdicts(lake)
    before = previous_version(rows, version)
    inherits = before is not None and is_comparable(table, feature_table(lake, view, before))
    previous = _timeline_of(lake, view, before, rows)[0] if inherits and before is not None else None
    settled = settled_head(table.partition_versions(), verdicts.of(view.name, version))
    own = [row for row in rows if row.version == version]
    buckets = max((row.bucket for row in own if row.bucket is not None), default=view.buckets - 1) + 1
    line = timeline(
        own,
        table.partition_versions(settled),
        buckets=max(buckets, view.buckets),
        delay=view.delay,
        excluded=verdicts.excluded(view.name, version),
        previous=previous,
    )
    return line, settled


def _times(values: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(values, pa.int64(), mask=values == OPEN).cast(TIME)
