"""The explanation of an answer: what it says, as values that encode to JSON.

Invariant: it says only what was read; what could not be read says so in words, and is null. Instants are UTC, durations
seconds; values stand in the form that `Answer.to_documents` gives them. How much is listed is bounded by `Limits`, and
whatever is listed in part comes with the number of all.
It computes nothing.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from feature_assets.serving.status import Status


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much an explanation may look at, and list.

    `partitions`: how many of a view's newest days are looked at. `rows`: of the entity, how many rows are judged.
    `events`: how many are listed of those that count, and of those that do not; `tiles`: how many of a view.
    """

    partitions: int = 800
    rows: int = 50_000
    events: int = 20
    tiles: int = 60


class Why(StrEnum):
    """Why a row counts, or does not. Of several reasons the first that applies, from the row's own to the windows'."""

    COUNTED = "COUNTED"
    """It is in the value."""
    HELD_BACK = "HELD_BACK"
    """A blocking expectation failed on its version of the day: that is never served."""
    UNJUDGED = "UNJUDGED"
    """Its version of the day has no verdict yet, or an earlier one has none."""
    FUTURE = "FUTURE"
    """It is dated after the instant asked for."""
    LATE = "LATE"
    """It had happened, and had not arrived by the instant asked for."""
    NOT_AVAILABLE = "NOT_AVAILABLE"
    """It had arrived, and no write that holds it was acknowledged by the instant asked for."""
    UNACKNOWLEDGED = "UNACKNOWLEDGED"
    """It is in the item already, and the write that holds it was not acknowledged yet."""
    SUPERSEDED = "SUPERSEDED"
    """A correction of its day replaced it."""
    NOT_IN_ITEM = "NOT_IN_ITEM"
    """The ledger says that it was visible, and the item does not hold it."""
    EXPIRED = "EXPIRED"
    """It is older than the view's time to live."""
    OLDER = "OLDER"
    """A later row of the entity won."""
    OUTSIDE = "OUTSIDE"
    """It is in none of the windows."""


class Cause(StrEnum):
    """Why online and offline differ, or cannot be compared."""

    IN_THE_PAST = "IN_THE_PAST"
    STORE_FAILURE = "STORE_FAILURE"
    LOADING = "LOADING"
    OTHER_VERSION = "OTHER_VERSION"
    WRITE_INTERVAL = "WRITE_INTERVAL"
    ITEM_GONE = "ITEM_GONE"
    ITEM_BEHIND = "ITEM_BEHIND"
    STREAMED = "STREAMED"
    NO_KEY = "NO_KEY"
    INPUT = "INPUT"
    FUNCTION = "FUNCTION"
    NO_HISTORY = "NO_HISTORY"
    LIMIT = "LIMIT"
    UNEXPLAINED = "UNEXPLAINED"


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """What the values are computed by. `version`: the hash of the definition; places are `file:line`."""

    version: str
    defined_at: str
    transform: Literal["sql", "function"]
    transform_at: str
    sources: tuple[str, ...] = ()


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A section of an item. `n`: the commit that the batch section is of; `fences`: what streams have applied.

    `event_at`, `sequence`, `partition`: of the row that it holds (of tiles: of the newest record). `bytes`: of that.
    """

    kind: Literal["batch", "stream"]
    bytes: int
    n: int | None = None
    sent_at: datetime | None = None
    event_at: datetime | None = None
    sequence: int | None = None
    partition: str | None = None
    fences: dict[str, int] = {}
    unrecorded: int = 0


class StoredItem(msgspec.Struct, frozen=True, kw_only=True):
    """The item that was read. `found`: whether the store has it; `failure`: why that is unknown. `bytes`: all of it."""

    table: str
    key: dict[str, object]
    found: bool
    seq: int = 0
    bytes: int = 0
    n: int = 0
    fences: dict[str, int] = {}
    sections: tuple[Section, ...] = ()
    failure: str = ""


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """How far the view is, by its watermark. `behind`: seconds from there to the instant asked for."""

    complete_through: datetime | None
    behind: float | None
    objective: float | None
    stale: bool


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the entity in the durable history.

    `partition`, `commit_seq`: which version of which day it is of. `available_at`: when it became visible (null: it has
    not), `superseded_at`: until when. `visible`: by the ledger, at the instant asked for. `in_item`: whether the item
    that was read holds it; null if none was. `windows`: those that cover its `event_at`. `versions`: of how many
    versions of its day it is a row, unchanged; it is told of one that is visible, if one is. `values`: of the columns
    that the features are made of.
    """

    event_at: datetime
    sequence: int
    arrived_at: datetime | None
    partition: str
    commit_seq: int
    available_at: datetime | None
    superseded_at: datetime | None
    availability: str | None
    visible: bool
    in_item: bool | None
    counted: bool
    why: Why
    versions: int
    windows: tuple[str, ...]
    values: dict[str, object]


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of the entity that were looked at, the newest first. `counts`: how many of all, by reason.

    What is `FUTURE` is counted, and not listed.
    `since`: the first day looked at. `complete`: whether nothing further back could have counted.
    """

    listed: tuple[Event, ...]
    total: int
    counts: dict[str, int]
    since: str | None
    complete: bool


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """`start <= event_at < end`; null: open."""

    start: datetime | None
    end: datetime | None


class WindowOf(msgspec.Struct, frozen=True, kw_only=True):
    """What a feature is over. `spans`: one, or of a series one for each. `tiles`: how many were merged.

    `events`: how many rows that count are in it, by the history; null if that was not looked at as a whole.
    """

    label: str
    function: str
    column: str | None
    hop: float
    spans: tuple[Span, ...]
    tiles: int | None
    events: int | None


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """A tile of the item. `level`: 0 is the finest. `counts`: the numbers of records and values in it.

    `states`: for each aggregate what this tile alone would give. `windows`: those that it was merged into.
    """

    section: Literal["batch", "stream", "history"]
    level: int
    start: datetime | None
    end: datetime | None
    counts: dict[str, int]
    states: dict[str, object]
    windows: tuple[str, ...]


class ViewExplained(msgspec.Struct, frozen=True, kw_only=True):
    """A view in one role. `answered`: the version that answered; null if none did.

    `item`: null if none was read. `winner`: of a view of rows, the row that answered. `tiles`: of a view of aggregates.
    `failure`: why the store did not answer; `history_failure`: why the history could not.
    """

    view: str
    keys: dict[str, object]
    code: Code
    answered: str | None
    is_current: bool
    ttl: float | None
    freshness: Freshness | None = None
    item: StoredItem | None = None
    winner: Event | None = None
    events: Events | None = None
    tiles: tuple[Tile, ...] = ()
    tiles_total: int = 0
    failure: str = ""
    history_failure: str = ""


class OnDemandExplained(msgspec.Struct, frozen=True, kw_only=True):
    """A view that is computed at the request: what its function was given."""

    code: Code
    request: dict[str, object]
    inputs: dict[str, object]
    as_of: datetime
    failure: str = ""


class Offline(msgspec.Struct, frozen=True, kw_only=True):
    """What a training row of the same instant holds. `agrees`: null if there is nothing to compare; `cause`: why."""

    value: object
    event_at: datetime | None
    availability: str | None
    agrees: bool | None
    cause: Cause | None = None
    reason: str = ""


class FeatureExplained(msgspec.Struct, frozen=True, kw_only=True):
    """One feature. `of`: the prefix under which `views` or `on_demand` tell the rest. `origin`: where from, in words.

    `default`: the one that is declared; `defaulted`: whether it stands in. `age`: from `event_at` to the instant.
    """

    name: str
    of: str
    dtype: str
    value: object
    status: Status
    meaning: str
    default: object
    defaulted: bool
    event_at: datetime | None
    age: float | None
    origin: str
    window: WindowOf | None
    offline: Offline


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why the features of one entity are what they are, as of an instant.

    `source`: `online`, what the store answered now; or `history`, what it would have answered then, as the store keeps
    no past: `note` says so.
    """

    service: str
    service_version: str
    target: str
    as_of: datetime
    source: Literal["online", "history"]
    note: str
    asked: dict[str, object]
    features: tuple[FeatureExplained, ...]
    views: dict[str, ViewExplained]
    on_demand: dict[str, OnDemandExplained]

    @property
    def agrees(self) -> bool:
        """Whether no feature is known to differ between online and offline."""
        return all(one.offline.agrees is not False for one in self.features)
