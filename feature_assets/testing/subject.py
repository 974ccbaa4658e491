"""What the simulated view is of: its definition, what its records hold, and which of its versions streams feed.

Invariant: everything else of a world is the same for every subject, so that each finds what the others would.
Here is the first of them, a view of rows beside a stream of sums; `purchases` has the other, a view of aggregates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Protocol

import msgspec
import pyarrow as pa

from feature_assets.online.plan import PushedView
from feature_assets.online.protocol import Reducer
from feature_assets.online.sections import Contents
from feature_assets.online.winning_rows import WinningRows
from feature_assets.testing.tiles import TileSums
from feature_assets.testing.truth import FeatureRow

HOUR = 3_600_000_000
DAY = 24 * HOUR
VIEW = "balance"
FIRST, SECOND = "v1", "v2"
"""The two view versions. The first is fed by the streams as well; the second is made later on and takes over."""
KEY_NAMES = ("entity",)
INSTANT = pa.timestamp("us", tz="UTC")
BEFORE_VALUES = (("entity", pa.string()), ("event_at", INSTANT), ("arrived_at", INSTANT), ("sequence", pa.int64()))
FEATURE_SCHEMA = pa.schema([*BEFORE_VALUES, ("value", pa.int64()), ("bucket", pa.int32())])

_SUMS = TileSums(window=60 * HOUR, hop=5 * HOUR)


class SimulatedDefinition(PushedView, Protocol):
    """A view, as far as a world looks at one."""

    @property
    def delay(self) -> timedelta:
        """How long after the end of a day it is usually published."""


class Subject(Protocol):
    """What the simulated view is of."""

    @property
    def view(self) -> SimulatedDefinition:
        """Its definition."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of its history: those of `BEFORE_VALUES`, what the view stores, and `bucket`."""

    @property
    def reducer(self) -> Reducer:
        """What streams make of their records."""

    @property
    def requests(self) -> int:
        """How often somebody may ask, per turn."""

    @property
    def lag(self) -> int:
        """How far behind the clock of a reader may be, in microseconds."""

    def contents(self, rng: Random) -> Contents:
        """What a push puts into items."""

    def stored(self, rows: Sequence[FeatureRow]) -> list[pa.Array]:
        """What the view stores of these rows, column by column."""

    def payload(self, amount: int) -> bytes:
        """What a log holds of a record."""

    def is_streamed(self, version: str) -> bool:
        """Whether streams feed a version, too. One that is made later takes over from the archive of the logs."""


@dataclass(frozen=True, slots=True)
class SimulatedEntity:
    """The entity of the simulated view."""

    key_names: tuple[str, ...] = KEY_NAMES


@dataclass(frozen=True, slots=True)
class SimulatedFeature:
    """Its one feature."""

    name: str = "value"


@dataclass(frozen=True, slots=True)
class SimulatedView:
    """A rows view, as far as a push looks at one."""

    name: str = VIEW
    online: bool = True
    buckets: int = 2
    kept_for: timedelta | None = None
    delay: timedelta = timedelta(hours=1)
    entity: SimulatedEntity = SimulatedEntity()
    stored: tuple[SimulatedFeature, ...] = (SimulatedFeature(),)


@dataclass(frozen=True, slots=True)
class Balances:
    """A view of rows; its first version holds the sum of a stream, too, which has nothing to do with the rows."""

    view: SimulatedView = SimulatedView()
    schema: pa.Schema = FEATURE_SCHEMA
    reducer: TileSums = _SUMS
    requests: int = 2
    lag: int = 0

    def contents(self, rng: Random) -> WinningRows:
        """The winning rows."""
        return WinningRows(KEY_NAMES, packed_values, partitions_at_once=rng.choice([1, 2, 8]))

    def stored(self, rows: Sequence[FeatureRow]) -> list[pa.Array]:
        """Their values."""
        return [pa.array([row.value for row in rows], pa.int64())]

    def payload(self, amount: int) -> bytes:
        """The amount."""
        return msgspec.msgpack.encode(amount)

    def is_streamed(self, version: str) -> bool:
        """The first is."""
        return version == FIRST


def packed_values(table: pa.Table) -> list[bytes]:
    """The packed values of the view of rows: its one feature, as MessagePack."""
    return [msgspec.msgpack.encode(value) for value in table["value"].to_pylist()]


def unpacked_value(values: bytes) -> int:
    """The feature in a row's packed values."""
    return msgspec.msgpack.decode(values, type=int)
