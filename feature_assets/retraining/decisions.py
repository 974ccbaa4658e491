"""Decisions: what the gate said and why, and which model is the champion. The table `retraining/`.

Invariant: the table is only appended to, and the champion follows from it alone: promotions count in their order, and
one counts only if the champion it was decided against is still the champion when it comes. So of two that race one
wins, a promotion said twice is said once, and whoever is killed leaves the old champion or the new one.
"""

from datetime import datetime
from enum import StrEnum

import msgspec
import pyarrow as pa

from feature_assets.errors import RetrainingError
from feature_assets.offline.append_table import AppendTable
from feature_assets.offline.lake import Lake

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("kind", pa.string()),
        ("candidate", pa.string()),
        ("champion", pa.string()),
        ("training_set", pa.string()),
        ("go", pa.bool_()),
        ("complete", pa.bool_()),
        ("reasons", pa.list_(pa.string())),
        ("evidence", pa.string()),
        ("comparison", pa.string()),
        ("decided_at", pa.timestamp("us", tz="UTC")),
    ]
)


class Kind(StrEnum):
    """What a row says: whether to train, whether to promote, or that a model is the champion from here on."""

    RETRAIN = "retrain"
    PROMOTION = "promotion"
    CHAMPION = "champion"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether to go ahead, and why. `complete`: whether no evidence was missing; without it nothing is promoted."""

    go: bool
    complete: bool
    reasons: tuple[str, ...]


class DecisionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `retraining/`. `champion` is the champion's id at that time, None if there was none."""

    model: str
    kind: Kind
    candidate: str
    champion: str | None
    training_set: str
    go: bool
    complete: bool
    reasons: tuple[str, ...]
    evidence: str
    comparison: str
    decided_at: datetime

    @property
    def decision(self) -> Decision:
        """The decision alone."""
        return Decision(go=self.go, complete=self.complete, reasons=self.reasons)


class Decisions:
    """The decisions on all models. Holds no state."""

    def __init__(self, lake: Lake) -> None:
        self._table = AppendTable(lake, ("retraining",), SCHEMA)

    def append(self, row: DecisionRow, *, run_id: str = "") -> int:
        """Record a decision; returns the number of its commit."""
        return self._table.append(pa.Table.from_pylist([msgspec.structs.asdict(row)], schema=SCHEMA), run_id=run_id)

    def rows(self, model: str) -> list[DecisionRow]:
        """All that was decided on a model, oldest first."""
        return [msgspec.convert(row, DecisionRow) for row in self._table.read(equal={"model": model}).to_pylist()]

    def last(self, model: str, kind: Kind, candidate: str) -> DecisionRow | None:
        """The newest row of a kind on a candidate; None if there is none."""
        found = [row for row in self.rows(model) if row.kind is kind and row.candidate == candidate]
        return found[-1] if found else None

    def champion(self, model: str) -> str | None:
        """The id of the model in use; None before the first promotion."""
        return champion_of(self.rows(model))

    def promote(self, row: DecisionRow, *, run_id: str = "") -> None:
        """Make `row.candidate` the champion in the place of `row.champion`.

        Raises `RetrainingError` if that is no longer the champion: the comparison was with another model then.
        """
        if self.champion(row.model) == row.candidate:
            return
        self.append(row, run_id=run_id)
        champion = self.champion(row.model)
        if champion != row.candidate:
            raise RetrainingError(
                f"model {row.model}: {row.candidate} was to replace {row.champion or 'nothing'}, but the champion is "
                f"{champion or 'none'} now",
                hint="compare with that one: run the retraining again",
            )


def champion_of(rows: list[DecisionRow]) -> str | None:
    """The champion after `rows`, which are all on one model, oldest first."""
    champion: str | None = None
    for row in rows:
        if row.kind is Kind.CHAMPION and row.champion == champion:
            champion = row.candidate
    return champion
