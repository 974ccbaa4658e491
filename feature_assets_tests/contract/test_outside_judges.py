"""Outside judges: what two well-known systems promise about a value at an instant, as data, each by its own boundary.

Feast's cases are about backfills, creation times and time to live, closed at the instant; Chronon's are about entities
that mutate between daily snapshots, open at the instant. Their facts were put down anew as commits and pushes; what
they expect is theirs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feature_assets.clock import to_us
from feature_assets.compute.kernels import Boundary
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger, LedgerRow, MemoryLedger
from feature_assets.offline.partitioned import PartitionedTable
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdicts
from feature_assets.training.answer import added_columns
from feature_assets.training.history import History
from feature_assets.training.loader import Question, built, pins_now
from feature_assets.training.modes import joined_mode
from feature_assets.training.spine import parse_spine
from feature_assets_tests.histories import MemoryTable, MemoryVerdicts, instants, partition_table, verdict, view_of

TARGET = "judge"
Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Commit:
    """Partitions as they were from `visible_at` on; None: never pushed."""

    visible_at: datetime | None
    partitions: Mapping[str, Rows]


@dataclass
class Told:
    """A view's history as the judge tells it, built either in memory or in Delta."""

    view: FeatureView
    root: str | None
    commits: list[Commit] = field(default_factory=list)

    def history(self) -> History:
        version = view_version(self.view)
        if self.root is None:
            return self._told(version, MemoryTable(self.view), MemoryVerdicts(), MemoryLedger())
        lake = Lake(self.root)
        return self._told(version, feature_table(lake, self.view), Verdicts(lake), DeltaLedger(lake))

    def _told(
        self,
        version: str,
        table: MemoryTable | PartitionedTable,
        verdicts: MemoryVerdicts | Verdicts,
        ledger: Ledger,
    ) -> History:
        about: dict[str, Any] = {"view": self.view.name, "version": version, "target": TARGET}
        ledger.append([LedgerRow(kind="serving", **about, sent_at=0, acked_at=0, commit_seq=0)])
        for seq, commit in enumerate(self.commits, start=1):
            tables = {name: partition_table(self.view, rows) for name, rows in commit.partitions.items()}
            if isinstance(table, MemoryTable):
                table.commit(tables)
            else:
                table.commit(tables, source_seq=dict.fromkeys(tables, seq), force=frozenset(tables))
            if isinstance(verdicts, MemoryVerdicts):
                verdicts.judge(self.view.name, version, {(name, seq): True for name in tables})
            else:
                verdicts.record([verdict(self.view.name, version, name, seq) for name in tables])
            if commit.visible_at is not None:
                at = to_us(commit.visible_at)
                done = partial(LedgerRow, kind="ack", **about, sent_at=at, acked_at=at, commit_seq=seq)
                ledger.append([done(bucket=bucket) for bucket in range(self.view.buckets)])
        return History(lambda _, __: table, verdicts, ledger, TARGET)

    def ask(
        self, spine: Mapping[str, pa.Array], *, mode: str, boundary: Boundary, ttl: timedelta | None = None
    ) -> list[dict[str, Any]]:
        """The training set's rows."""
        service = FeatureService("judged", [self.view])
        history = self.history()
        pins, position = pins_now(service, history, {self.view.name: ttl})
        asked = parse_spine(pa.table(spine), timestamp="at", service=service, added=added_columns(service))
        rows: list[dict[str, Any]] = built(
            Question(service, "at", joined_mode(mode, "the judged"), boundary=boundary), asked, pins, history, position
        ).to_pylist()
        return rows


@pytest.fixture(params=["memory", "delta"])
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[FeatureView], Told]:
    return lambda view: Told(view, str(tmp_path / "lake") if request.param == "delta" else None)


# ---------------------------------------------------------------------------------------------------------------- Feast

NOW = datetime(2025, 1, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)
TOMORROW, AFTER = NOW + DAY, NOW + 2 * DAY
TODAY = NOW.date().isoformat()
DRIVERS = view_of("driver_stats", {"driver_id": pa.int64()}, {"trips": pa.int32()}, buckets=2)


def trips(driver: int, value: int | None, at: datetime = NOW, *, sequence: int = 0) -> dict[str, object]:
    return {"driver_id": driver, "trips": value, "event_at": at, "sequence": sequence}


def drivers(at: datetime, *ids: int) -> dict[str, pa.Array]:
    return {"driver_id": pa.array(ids, pa.int64()), "at": instants([at] * len(ids))}


def answered(rows: list[dict[str, Any]], column: str = "driver_stats__trips") -> list[object]:
    return [row[column] for row in rows]


BACKFILL = [
    Commit(NOW, {TODAY: [trips(1001, 10)], TOMORROW.date().isoformat(): [trips(1002, 40, TOMORROW)]}),
    Commit(TOMORROW, {TODAY: [trips(1001, 20), trips(1002, 30)]}),
]


@pytest.mark.parametrize("mode", ["as_of_event", "as_served"])
def test_feast_backfills(told: Callable[[FeatureView], Told], mode: str) -> None:
    """Of two rows for one instant the later created wins; a later event wins over a later creation."""
    judged = told(DRIVERS)
    judged.commits = BACKFILL
    assert answered(judged.ask(drivers(AFTER, 1001, 1002), mode=mode, boundary="closed")) == [20, 40]


CREATED = [
    Commit(NOW, {TODAY: [trips(1001, 10), trips(1002, 30)]}),
    Commit(AFTER, {TODAY: [trips(1001, 20), trips(1002, 40)]}),
]


@pytest.mark.parametrize(("mode", "expected"), [("as_of_event", [20, 40]), ("as_served", [10, 30])])
def test_feast_values_created_later(told: Callable[[FeatureView], Told], mode: str, expected: list[int]) -> None:
    """By default the backfilled values win; with the cut at the time of creation, those that were known."""
    judged = told(DRIVERS)
    judged.commits = CREATED
    assert answered(judged.ask(drivers(TOMORROW, 1001, 1002), mode=mode, boundary="closed")) == expected


def test_feast_a_value_that_was_never_created(told: Callable[[FeatureView], Told]) -> None:
    judged = told(DRIVERS)
    judged.commits = [Commit(NOW, {TODAY: [trips(1, 4)]}), Commit(None, {TODAY: [trips(1, 6)]})]
    assert answered(judged.ask(drivers(TOMORROW, 1), mode="as_served", boundary="closed")) == [4]


def test_feast_a_row_without_any_value_is_kept(told: Callable[[FeatureView], Told]) -> None:
    judged = told(DRIVERS)
    judged.commits = [Commit(AFTER, {TODAY: [trips(1, 4), trips(1, 6, NOW + timedelta(hours=1))]})]
    rows = judged.ask(drivers(TOMORROW, 1), mode="as_served", boundary="closed")
    assert [(row["driver_id"], row["driver_stats__trips"]) for row in rows] == [(1, None)]


def test_feast_rows_do_not_borrow_from_others(told: Callable[[FeatureView], Told]) -> None:
    judged = told(DRIVERS)
    judged.commits = [
        Commit(NOW + timedelta(hours=2), {TODAY: [trips(1, 4)]}),
        Commit(AFTER, {TODAY: [trips(1, 4), trips(2, 6)]}),
    ]
    assert answered(judged.ask(drivers(TOMORROW, 1, 2), mode="as_served", boundary="closed")) == [4, None]


@pytest.mark.parametrize(
    ("ttl", "age", "found"),
    [
        # Closed at both ends: from t - ttl to t.
        (DAY, timedelta(0), True),
        (DAY, DAY, True),
        (DAY, DAY + timedelta(microseconds=1), False),
        (DAY, -timedelta(microseconds=1), False),
        # No time to live (Feast writes 0): however old.
        (None, 4_000 * DAY, True),
        (None, -timedelta(microseconds=1), False),
    ],
)
def test_feast_time_to_live(
    told: Callable[[FeatureView], Told], ttl: timedelta | None, age: timedelta, *, found: bool
) -> None:
    judged = told(DRIVERS)
    judged.commits = [Commit(NOW, {TODAY: [trips(1, 4)]})]
    rows = judged.ask(drivers(NOW + age, 1), mode="as_of_event", boundary="closed", ttl=ttl)
    assert answered(rows) == [4 if found else None]


def test_feast_an_expired_value_hides_no_older_one(told: Callable[[FeatureView], Told]) -> None:
    judged = told(DRIVERS)
    judged.commits = [Commit(NOW, {TODAY: [trips(1, 3, NOW - timedelta(hours=1)), trips(1, 4)]})]
    rows = judged.ask(drivers(NOW + 2 * DAY, 1), mode="as_of_event", boundary="closed", ttl=DAY)
    assert answered(rows) == [None]


def test_feast_composite_keys_and_missing_entities(told: Callable[[FeatureView], Told]) -> None:
    orders = view_of("orders", {"customer": pa.int64(), "driver": pa.string()}, {"ok": pa.int32()}, buckets=3)
    judged = told(orders)
    judged.commits = [
        Commit(
            NOW,
            {
                TODAY: [
                    {"customer": 1, "driver": "a", "event_at": NOW, "ok": 1},
                    {"customer": 1, "driver": "b", "event_at": NOW, "ok": 2},
                    {"customer": 2, "driver": "a", "event_at": NOW, "ok": 3},
                ]
            },
        )
    ]
    asked = [(1, "a"), (2, "b"), (1, "b"), (2, "a"), (3, "a"), (1, "a")]
    spine = {
        "customer": pa.array([one for one, _ in asked], pa.int64()),
        "driver": pa.array([other for _, other in asked]),
        "at": instants([NOW] * len(asked)),
    }
    rows = judged.ask(spine, mode="as_of_event", boundary="closed")
    assert answered(rows, "orders__ok") == [1, None, 2, 3, None, 1]


# -------------------------------------------------------------------------------------------------------------- Chronon
#
# A listing's reviews, each with the instant it was written and a rating. A snapshot at the end of a day has them all; a
# mutation during a day adds, changes or removes one. What is asked is the average rating of a listing at an instant.
# Each review is an entity here: its latest visible version, or nothing, is what the average is taken over.

REVIEWS = view_of("reviews", {"listing": pa.int32(), "review": pa.string()}, {"rating": pa.int32()}, buckets=2)
LISTINGS = view_of("listings", {"listing": pa.int32()}, {"rating": pa.int32()}, buckets=2)


@dataclass(frozen=True)
class Mutation:
    """At `at`, the review of `listing` written at `written` has `rating`; None: it is gone."""

    at: str
    listing: int
    written: str
    rating: int | None


@dataclass(frozen=True)
class Case:
    """`snapshot`: (listing, written, rating), complete at the start of `day`. `asked`: (listing, instant, average)."""

    day: str
    snapshot: Sequence[tuple[int, str, int]]
    mutations: Sequence[Mutation]
    asked: Sequence[tuple[int, str, float | None]]
    window: timedelta | None = None


def moment(text: str) -> datetime:
    """`10 02:30` is half past two on 10 April 2021."""
    day, _, time = text.partition(" ")
    return datetime.fromisoformat(f"2021-04-{day}T{time or '00:00'}+00:00")


SNAPSHOT = [
    (1, "04 00:30", 4),
    (2, "04 01:40", 3),
    (3, "04 06:00", 4),
    (1, "04 12:30", 5),
    (1, "05 00:30", 4),
    (2, "05 03:40", 3),
    (3, "05 04:00", 4),
    (1, "05 02:30", 5),
]
OTHER_SNAPSHOT = [
    (1, "04 00:30", 4),
    (1, "04 12:30", 4),
    (1, "05 00:30", 4),
    (1, "05 02:30", 5),
    (2, "04 01:40", 3),
    (2, "05 03:40", 3),
    (2, "06 03:45", 3),
    (3, "04 06:00", 4),
    (3, "05 04:00", 4),
]
DECAYING = [
    (1, "04 00:30", 4),
    (1, "04 12:30", 4),
    (1, "05 00:30", 4),
    (1, "08 02:30", 4),
    (2, "04 01:40", 3),
    (2, "05 03:40", 3),
    (2, "06 03:45", 4),
]
LATE = [Mutation("10 02:10", 2, "10 10:00", 3), Mutation("10 02:15", 3, "10 23:00", 4)]

CASES = {
    "inserts alone": Case(
        "10",
        SNAPSHOT,
        [Mutation("10 02:00", 1, "10 02:00", 2), *LATE],
        [(1, "10 01:00", 4.5), (1, "10 02:30", 4.0), (2, "10 23:00", 3.0)],
    ),
    "a changed value": Case(
        "10",
        SNAPSHOT,
        [Mutation("10 02:00", 1, "05 00:30", 2), *LATE],
        [(1, "10 01:00", 4.5), (1, "10 02:30", 4.0), (2, "10 23:00", 3.0)],
    ),
    "a changed key": Case(
        "10",
        OTHER_SNAPSHOT,
        [
            Mutation("10 00:30", 1, "05 02:30", None),
            Mutation("10 00:30", 2, "05 00:30", 5),
            Mutation("10 02:15", 3, "10 23:00", 4),
            Mutation("10 10:00", 2, "10 10:00", 3),
        ],
        [(1, "10 01:00", 4.0), (2, "10 02:30", 3.5), (2, "10 23:00", 3.4)],
    ),
    "questions about the day before": Case(
        "09",
        OTHER_SNAPSHOT,
        [
            Mutation("09 05:45", 2, "09 05:45", 4),
            Mutation("09 07:00", 2, "09 05:45", 5),
            Mutation("10 00:30", 1, "10 00:30", 5),
            Mutation("10 02:15", 3, "10 23:00", 4),
            Mutation("10 10:00", 2, "10 10:00", 3),
        ],
        [
            (1, "10 01:00", 4.4),
            (2, "09 04:30", 3.0),
            (2, "09 06:30", 3.25),
            (2, "09 08:30", 3.5),
            (2, "10 23:00", 3.4),
        ],
    ),
    "a window that decays": Case(
        "09",
        DECAYING,
        [
            Mutation("09 05:45", 2, "09 05:45", 2),
            Mutation("09 07:00", 2, "09 05:45", 5),
            Mutation("10 00:30", 1, "10 00:30", 5),
            Mutation("10 10:00", 2, "10 10:00", 4),
        ],
        [
            (2, "09 01:30", 3.5),
            (2, "09 04:30", 4.0),
            (2, "09 06:30", 3.0),
            (2, "09 08:30", 4.5),
            (2, "10 09:00", 5.0),
            (2, "10 23:00", 4.5),
        ],
        window=4 * DAY,
    ),
    "a window that decays without a mutation": Case(
        "10",
        [*DECAYING, (2, "09 05:45", 5)],
        [Mutation("10 00:30", 1, "10 00:30", 5)],
        [(2, "10 01:00", 4.5), (2, "10 23:00", 5.0)],
        window=4 * DAY,
    ),
    "mutations without a snapshot": Case(
        "10",
        DECAYING[:4],
        [
            Mutation("10 00:30", 2, "10 00:30", 5),
            Mutation("10 04:30", 2, "10 04:30", 2),
            Mutation("10 12:30", 2, "10 04:30", 4),
        ],
        [(2, "10 00:07", None), (2, "10 01:07", 5.0), (2, "10 05:00", 3.5), (2, "10 23:00", 4.5)],
        window=4 * DAY,
    ),
}


def commits_of(case: Case) -> Iterator[Commit]:
    """The snapshot, then one commit for each instant at which something changed: the days that it changed, whole."""
    ratings: dict[tuple[int, str], int] = {(listing, written): rating for listing, written, rating in case.snapshot}

    def day(name: str) -> Rows:
        return [
            {"listing": listing, "review": written, "event_at": moment(written), "rating": rating}
            for (listing, written), rating in ratings.items()
            if written[:2] == name
        ]

    def partitions(names: set[str]) -> dict[str, Rows]:
        return {f"2021-04-{name}": day(name) for name in sorted(names)}

    yield Commit(moment(case.day), partitions({written[:2] for _, written, _ in case.snapshot}))
    for at in sorted({mutation.at for mutation in case.mutations}):
        changed = [mutation for mutation in case.mutations if mutation.at == at]
        for mutation in changed:
            if mutation.rating is None:
                del ratings[mutation.listing, mutation.written]
            else:
                ratings[mutation.listing, mutation.written] = mutation.rating
        yield Commit(moment(at), partitions({mutation.written[:2] for mutation in changed}))


def average(rows: list[dict[str, Any]], at: datetime, window: timedelta | None) -> float | None:
    """Over what was found; of a window of days, back to the full hour before its start."""
    start = None if window is None else (at - window).replace(minute=0)
    values = [
        row["reviews__rating"]
        for row in rows
        if row["reviews__event_at"] is not None and (start is None or row["reviews__event_at"] >= start)
    ]
    return sum(values) / len(values) if values else None


@pytest.mark.parametrize("name", CASES)
def test_chronon_mutations(told: Callable[[FeatureView], Told], name: str) -> None:
    case = CASES[name]
    judged = told(REVIEWS)
    judged.commits = list(commits_of(case))
    reviews = sorted(
        {(row[0], row[1]) for row in case.snapshot} | {(one.listing, one.written) for one in case.mutations}
    )
    asked = [
        (number, listing, written, moment(at))
        for number, (listing, at, _) in enumerate(case.asked)
        for of, written in reviews
        if of == listing
    ]
    spine = {
        "question": pa.array([number for number, _, _, _ in asked]),
        "listing": pa.array([listing for _, listing, _, _ in asked], pa.int32()),
        "review": pa.array([written for _, _, written, _ in asked]),
        "at": instants([at for _, _, _, at in asked]),
    }
    rows = judged.ask(spine, mode="as_served", boundary="open")
    found = [
        average([row for row in rows if row["question"] == number], moment(at), case.window)
        for number, (_, at, _) in enumerate(case.asked)
    ]
    assert found == [None if expected is None else pytest.approx(expected) for _, _, expected in case.asked]


def test_chronon_the_last_rating(told: Callable[[FeatureView], Told]) -> None:
    """The newest review of a listing, on the data of the first case."""
    case = CASES["inserts alone"]
    judged = told(LISTINGS)
    judged.commits = list(commits_of(case))
    spine = {
        "listing": pa.array([listing for listing, _, _ in case.asked], pa.int32()),
        "at": instants([moment(at) for _, at, _ in case.asked]),
    }
    rows = judged.ask(spine, mode="as_served", boundary="open")
    assert answered(rows, "listings__rating") == [5, 2, 3]


@pytest.mark.parametrize(("boundary", "before"), [("closed", [2.0, 5.0]), ("open", [None, 2.0])])
def test_the_judges_differ_at_the_instant_itself(
    told: Callable[[FeatureView], Told], boundary: Boundary, before: list[float | None]
) -> None:
    """What happens at the instant that is asked for is visible to Feast and not to Chronon."""
    judged = told(REVIEWS)
    judged.commits = list(
        commits_of(Case("10", [], [Mutation("10 02:00", 1, "10 02:00", 2), Mutation("10 03:00", 1, "10 02:00", 5)], []))
    )
    judged.commits = judged.commits[1:]
    at = [moment("10 02:00"), moment("10 03:00")]
    spine = {"listing": pa.array([1, 1], pa.int32()), "review": pa.array(["10 02:00"] * 2), "at": instants(at)}
    rows = judged.ask(spine, mode="as_served", boundary=boundary)
    assert answered(rows, "reviews__rating") == before
