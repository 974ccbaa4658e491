"""Judges answers of the view of rows: the batch row's value, if there is a row, and the sum over a window.

Invariant: its kernel is the winner and the sum by `truth`; by the clock, the loader's own means over all rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feature_assets.compute.kernels import NO_ROW, latest_visible
from feature_assets.online.item import Cut
from feature_assets.testing.judging import Asked, Bools, Clocked, Ints, Value, Visible, inside, micros
from feature_assets.testing.subject import Balances, unpacked_value
from feature_assets.testing.world import World, day_start


@dataclass(frozen=True, slots=True)
class BalancesJudged:
    """A `Judge` of a world whose subject is `Balances`."""

    world: World
    subject: Balances

    def told(self, asked: Sequence[Asked]) -> list[Value]:
        """The row of the one section, and the sum of the other."""
        return [self._told(each) for each in asked]

    def kernel(self, asked: Sequence[Asked], cuts: Sequence[Cut]) -> list[Value]:
        """By looking at everything."""
        return [self._kernel(each, cut) for each, cut in zip(asked, cuts, strict=True)]

    def by_clock(self, version: str, asked: Sequence[Asked], told: Sequence[Value]) -> Clocked:
        """Each part is judged by itself, where no write of it is under way."""
        entity = np.array([each.entity for each in asked], np.int64)
        at = np.array([each.at for each in asked], np.int64)
        visible = Visible(self.world, version)
        rows = self._rows_visible(visible, entity, at)
        in_batch = inside(visible.batch_spans(), entity, at)
        sums, in_stream = self._sums_visible(visible, entity, at)
        wrong = []
        for number, (each, value) in enumerate(zip(asked, told, strict=True)):
            expected = rows[number], sums[number]
            row_differs = value[0] != expected[0] and not in_batch[number]
            if row_differs or (value[1] != expected[1] and not in_stream[number]):
                wrong.append((each, f"{value} not {expected}"))
        return Clocked(int((in_batch | in_stream).sum()), wrong)

    def misshapen(self, asked: Sequence[Asked]) -> list[tuple[Asked, str]]:
        """Its values are all there is to it."""
        del asked
        return []

    def _told(self, asked: Asked) -> Value:
        item = asked.item
        row = item.batch.row if item.batch is not None else None
        value = None if row is None else unpacked_value(row.values)
        if item.streams is None or not self.subject.is_streamed(asked.version):
            return value, 0
        return value, self.subject.reducer.value(item.streams.state, asked.as_of)

    def _kernel(self, asked: Asked, cut: Cut) -> Value:
        row = self.world.truth.batch[asked.version].state(cut.n).get(asked.entity)
        reducer = self.subject.reducer
        fences = cut.fences if self.subject.is_streamed(asked.version) else {}
        total = self.world.truth.window_sum(asked.entity, fences, reducer.start(asked.as_of), reducer.hop)
        return None if row is None else row.value, total

    def _rows_visible(self, visible: Visible, entity: Ints, at: Ints) -> list[int | None]:
        """The ledger resolved over all rows, then the point-in-time kernel."""
        side = self.world.sides[visible.version]
        rows = side.table.read_versions(upto=side.truth.settled())
        resolved = visible.batch.resolve_batch(
            commit_seq=np.asarray(rows["commit_seq"]),
            bucket=np.asarray(rows["bucket"]),
            partition=rows["partition"],
            arrived_at=micros(rows["arrived_at"]),
        )
        matches = latest_visible(
            key=np.array([int(name[1:]) for name in rows["entity"].to_pylist()], np.int64),
            event_at=micros(rows["event_at"]),
            sequence=np.asarray(rows["sequence"]),
            partition=np.array([day_start(day) for day in rows["partition"].to_pylist()], np.int64),
            available_at=resolved.available_at,
            superseded_at=resolved.superseded_at,
            spine_key=entity,
            as_of=at,
        )
        values = rows["value"].to_pylist()
        return [None if row == NO_ROW else values[row] for row in matches.row.tolist()]

    def _sums_visible(self, visible: Visible, entity: Ints, at: Ints) -> tuple[list[int], Bools]:
        if not self.subject.is_streamed(visible.version):
            return [0] * len(at), np.zeros(len(at), np.bool_)
        sums, reducer = np.zeros(len(at), np.int64), self.subject.reducer
        spans: dict[int, list[tuple[int, int]]] = {}
        for each in range(self.world.design.entities):
            records = self.world.truth.of_entity(each)
            sent_at, available_at = visible.of_records(records)
            spans[each] = list(zip(sent_at.tolist(), available_at.tolist(), strict=True))
            if records:
                mine = np.flatnonzero(entity == each)
                tile = np.array([record.event_at for _, record in records]) // reducer.hop * reducer.hop
                starts = np.array([reducer.start(instant) for instant in at[mine].tolist()], np.int64)
                seen = (available_at <= at[mine, None]) & (tile >= starts[:, None])
                sums[mine] = seen @ np.array([record.amount for _, record in records], np.int64)
        return sums.tolist(), inside(spans, entity, at)
