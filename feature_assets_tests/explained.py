"""A shop for tests of explanations: a view of rows, one of windows and one computed at the request, in memory or Delta.

Invariant: whatever is in the store got there by the product's own push, and the ledger knows about it. What an
explanation must say is worked out here naively, from the events that it lists alone.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import islice
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.clock import ManualClock
from feature_assets.compute.engine import view_schema
from feature_assets.definition.aggregate import Aggregate
from feature_assets.definition.entity import Entity
from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import Feature, FeatureView
from feature_assets.definition.window import Window
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger, MemoryLedger
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdicts
from feature_assets.offline.versions import Version
from feature_assets.online.contents import contents_of
from feature_assets.online.memory import MemoryStore
from feature_assets.online.plan import plan_push
from feature_assets.online.push import PushOptions, push_steps
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.online.store import OnlineStore
from feature_assets.serving.explain import Explanation, Limits, explain
from feature_assets.serving.explanation import Event, FeatureExplained, Why
from feature_assets.serving.reader import OnlineReader
from feature_assets.testing.lake import MemoryTable
from feature_assets.training.answer import added_columns
from feature_assets.training.history import History
from feature_assets.training.loader import Question, built, pins_now
from feature_assets.training.modes import AsServed
from feature_assets.training.spine import parse_spine
from feature_assets_tests.histories import DAY, SOURCE, START, MemoryVerdicts, partition_table, unchanged, verdict

HOUR = timedelta(hours=1)
TIME = pa.timestamp("us", "UTC")
Rows = Sequence[Mapping[str, object]]
USER = Entity("user", {"user_id": pa.string()})
THREE_DAYS = Window.sliding(3 * DAY, hop=6 * HOUR)
ONE_DAY = Window.sliding(DAY, hop=HOUR)
YESTERDAY = Window.tumbling(DAY)
EVER = Window.lifetime()


def profile_of(buckets: int = 2) -> FeatureView:
    """Rows that expire after three days; fresh if a day and a half old."""
    return FeatureView(
        "profile",
        USER,
        SOURCE,
        unchanged,
        [Feature("plan", pa.string()), Feature("score", pa.float64()), Feature("visits", pa.int64(), default=0)],
        order_by="sequence",
        ttl=3 * DAY,
        delay=HOUR,
        freshness=2 * DAY,
        buckets=buckets,
    )


def spend_of(buckets: int = 2, *, ever: bool = True) -> FeatureView:
    """Windows over what a user spends, also over all time or not."""
    forever = [EVER] if ever else []
    return FeatureView(
        "spend",
        USER,
        SOURCE,
        unchanged,
        order_by="sequence",
        columns=[("amount", pa.float64()), ("shop", pa.string())],
        aggregates=[
            Aggregate("count", windows=[ONE_DAY, THREE_DAYS, YESTERDAY, *forever]),
            Aggregate("sum", "amount", [ONE_DAY, THREE_DAYS, *forever], default=0.0),
            Aggregate("min", "amount", THREE_DAYS),
            Aggregate("max", "amount", [ONE_DAY, YESTERDAY]),
            Aggregate("last", "shop", [ONE_DAY, THREE_DAYS]),
            Aggregate("count_distinct", "shop", THREE_DAYS, bound=2),
        ],
        delay=HOUR,
        buckets=buckets,
    )


def left_over(columns: Mapping[str, pa.Array], as_of: pa.Array) -> dict[str, pa.Array]:
    """What is left of a budget; fails if it is negative. And the hour of the request."""
    if pc.any(pc.less(columns["budget"], 0)).as_py():
        raise ValueError("a budget is not negative")
    return {"left": pc.subtract(columns["budget"], columns["spend__amount_sum_1d"]), "hour": pc.hour(as_of)}


LEFT = OnDemandView(
    "left",
    [RequestField("budget", pa.float64())],
    ["spend__amount_sum_1d", "profile__score"],
    function=left_over,
    features=[Feature("left", pa.float64()), Feature("hour", pa.int64())],
)


def project_of(profile: FeatureView, spend: FeatureView) -> Project:
    """All of it, as one service."""
    service = FeatureService("checkout", [profile, spend, LEFT])
    return Project("shop", sources=[SOURCE], views=[profile, spend], services=[service])


PROFILE, SPEND = profile_of(), spend_of()
PROJECT = project_of(PROFILE, SPEND)
SERVICE = PROJECT.service("checkout")
NAMES = [column.name for column in SERVICE.output_columns]
ASKED = {"user_id": "ada", "budget": 100.0}


class Table(MemoryTable):
    """Versioned partitions in memory, as the loader reads them too."""

    def counted_in(self) -> str:
        """Always the same."""
        return "source"

    def read_numbered(
        self,
        versions: Collection[Version],
        *,
        columns: tuple[str, ...],
        buckets: Collection[int] | None = None,
        event_range: tuple[datetime | None, datetime | None] | None = None,
        ordered: bool = True,  # noqa: ARG002 - in memory, rows are always in order
    ) -> tuple[pa.Table, npt.NDArray[np.int64]]:
        """As `FeatureRows` has it."""
        kept = {(one.partition, one.commit_seq): one.rows for one in self.kept}
        parts = [kept[version].select(self.schema.names) for version in sorted(versions)]
        rows = pa.concat_tables([self.schema.empty_table(), *parts])
        place = np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int64)
        low, high = event_range or (None, None)
        mask = np.ones(len(rows), np.bool_)
        if buckets is not None:
            mask &= np.isin(np.asarray(rows["bucket"]), list(buckets))
        if low is not None:
            mask &= np.asarray(pc.greater_equal(rows["event_at"], pa.scalar(low, TIME)))
        if high is not None:
            mask &= np.asarray(pc.less_equal(rows["event_at"], pa.scalar(high, TIME)))
        return rows.filter(pa.array(mask)).select(list(columns)), place[mask]


@dataclass
class Shop:
    """What is committed and published. `clock` stands a day after `START`, in `histories`."""

    table: Callable[[FeatureView, str], Any]
    verdicts: Any
    ledger: Ledger
    store: OnlineStore
    lake: Lake | None = None
    project: Project = PROJECT
    clock: ManualClock = field(default_factory=lambda: ManualClock(START + DAY))

    @classmethod
    def in_memory(cls) -> "Shop":
        """Everything in memory."""
        tables: dict[tuple[str, str], Table] = {}

        def table(view: FeatureView, version: str) -> Table:
            schema = view_schema(view).append(pa.field("bucket", pa.int32()))
            return tables.setdefault((view.name, version), Table(schema))

        return cls(table, MemoryVerdicts(), MemoryLedger(), MemoryStore())

    @classmethod
    def over_delta(cls, folder: Path) -> "Shop":
        """A lake, and a SQLite file."""
        lake = Lake(str(folder / "lake"))
        store = SQLiteStore(folder / "online.sqlite")
        return cls(lambda view, one: feature_table(lake, view, one), Verdicts(lake), DeltaLedger(lake), store, lake)

    def commit(
        self, view: FeatureView, rows: Rows, *, day: date | None = None, passed: bool | None = True
    ) -> int | None:
        """A new version of a day (default: that of `START`), with its verdict, if it has one; None: nothing changed."""
        name, version = (day or START.date()).isoformat(), view_version(view)
        done = self.table(view, version).commit({name: partition_table(view, rows)}, source_seq={name: 1})
        seq: int | None = done if isinstance(done, int | None) else done.seq
        if seq is not None and passed is not None:
            self._judge(view, version, name, seq, passed=passed)
        return seq

    def _judge(self, view: FeatureView, version: str, name: str, seq: int, *, passed: bool) -> None:
        if isinstance(self.verdicts, Verdicts):
            self.verdicts.record([verdict(view.name, version, name, seq, passed=passed)])
        else:
            self.verdicts.judge(view.name, version, {(name, seq): passed})

    def push(self, view: FeatureView, *, steps: int | None = None) -> bool:
        """Push what is due, or only so many steps of it; whether something was."""
        version = view_version(view)
        table = self.table(view, version)
        plan = plan_push(
            view,
            version=version,
            table=table,
            verdicts=self.verdicts,
            ledger=self.ledger,
            target=self.store.target,
        )
        if plan is None:
            return False
        options = PushOptions(contents_of(view), sleep=lambda _: None)
        running = push_steps(
            plan, view, table=table, ledger=self.ledger, store=self.store, clock=self.clock, options=options
        )
        for _ in islice(running, steps):
            pass
        running.close()
        return True

    def publish(self, view: FeatureView, rows: Rows, *, day: date | None = None) -> None:
        """Commit and push."""
        self.commit(view, rows, day=day)
        self.push(view)

    def later(self, **by: float) -> None:
        """Let time pass."""
        self.clock.advance(timedelta(**by))

    # ------------------------------------------------------------------------------------------------------- asking
    def history(self) -> History:
        """The durable history."""
        return History(self.table, self.verdicts, self.ledger, self.store.target)

    def explain(
        self,
        entity: Mapping[str, object] = ASKED,
        *,
        as_of: datetime | None = None,
        features: Sequence[str] = (),
        limits: Limits | None = None,
        store: OnlineStore | None = None,
    ) -> Explanation:
        """The explanation."""
        return explain(
            "checkout",
            entity,
            as_of=as_of,
            features=features,
            limits=limits or Limits(events=1_000, tiles=1_000),
            project=self.project,
            history=self.history(),
            online=lambda: store or self.store,
            clock=self.clock,
            lake=self.lake,
        )

    def answer(self, entity: Mapping[str, object] = ASKED) -> dict[str, Any]:
        """What the reader says, as a document."""
        reader = OnlineReader(self.project, self.store, self.ledger, self.clock, lake=self.lake)
        return dict(reader.get("checkout", [entity], consistent=True).to_documents()[0])

    def trained(self, as_of: datetime, entity: Mapping[str, object] = ASKED) -> dict[str, object]:
        """What the loader says, of the whole view in one part."""
        history, service = self.history(), self.project.service("checkout")
        spine = pa.Table.from_pylist([{**entity, "as_of": as_of}]).cast(
            pa.schema([("user_id", pa.string()), ("budget", pa.float64()), ("as_of", TIME)])
        )
        asked = parse_spine(spine, timestamp="as_of", service=service, added=added_columns(service))
        pins, position = pins_now(service, history, {})
        row: dict[str, object] = built(
            Question(service, "as_of", AsServed()), asked, pins, history, position
        ).to_pylist()[0]
        return row


def row(user: str, hours: float, *, late: float = 0, sequence: int = 0, **values: object) -> dict[str, object]:
    """A row of a user, so many hours after `START`; `late`: hours from then to its arrival."""
    at = START + timedelta(hours=hours)
    arrived_at = at + timedelta(hours=late)
    return {"user_id": user, "event_at": at, "arrived_at": arrived_at, "sequence": sequence, **values}


def feature(explained: Explanation, name: str) -> FeatureExplained:
    """One of its features."""
    return next(one for one in explained.features if one.name == name)


def events(explained: Explanation, view: str, *whys: Why) -> list[Event]:
    """The listed rows of a view, of some reasons; all without."""
    found = explained.views[view].events
    assert found is not None
    return [one for one in found.listed if not whys or one.why in whys]


# --------------------------------------------------------------------------------------------------------------- naive


def inside(explained: Explanation, name: str) -> list[Event]:
    """The listed events that count in the window of a feature."""
    of = feature(explained, name).window
    assert of is not None
    return [one for one in events(explained, "spend") if one.counted and of.label in one.windows]


def naive(explained: Explanation, name: str) -> object:
    """A feature of the windows, from the listed events that count, one by one."""
    of = feature(explained, name).window
    assert of is not None
    rows = inside(explained, name)
    rows.sort(key=lambda one: (one.event_at, one.sequence, str(one.values["shop"])))
    values = [one.values[of.column] for one in rows if of.column is not None and one.values[of.column] is not None]
    numbers = [float(str(value)) for value in values if of.column == "amount"]
    match of.function:
        case "count":
            return len(rows)
        case "sum":
            return fsum(numbers) if numbers else 0.0
        case "min":
            return min(numbers, default=None)
        case "max":
            return max(numbers, default=None)
        case "last":
            return values[-1] if values else None
        case _:
            distinct = len(set(values))
            return distinct if distinct <= 2 else None


def _require_winner(explained: Explanation) -> None:
    """The row that is said to answer holds the values, and nothing that is visible is later."""
    winner = explained.views["profile"].winner
    answered = [one for one in explained.features if one.of == "profile" and one.event_at is not None]
    assert (winner is not None) == bool(answered)
    if winner is None:
        return
    assert {one.event_at for one in answered} == {winner.event_at}
    visible = [one for one in events(explained, "profile") if one.visible]
    assert max((one.event_at, one.sequence) for one in visible) == (winner.event_at, winner.sequence)
    for one in answered:
        held = None if winner.why is Why.EXPIRED else winner.values[one.name.removeprefix("profile__")]
        assert one.value == (one.default if held is None else held), one.name


def require_true(shop: Shop, explained: Explanation, entity: Mapping[str, object] = ASKED) -> None:
    """What is explained is what the reader and the loader say, and follows from the listed events."""
    trained = shop.trained(explained.as_of, entity)
    for one in explained.features:
        assert one.offline.value == trained[one.name], one.name
        if one.window is not None:
            assert one.value == naive(explained, one.name), one.name
            assert one.window.events == len(inside(explained, one.name)), one.name
    for view in explained.views:
        at = [(one.event_at, one.sequence) for one in events(explained, view)]
        assert at == sorted(at, reverse=True)
    _require_winner(explained)
    if explained.source == "online":
        answer = shop.answer(entity)
        assert {one.name: one.value for one in explained.features} == answer["values"]
        assert {one.name: one.status.value for one in explained.features} == answer["status"]
        assert [(one.name, one.offline.cause) for one in explained.features if one.offline.agrees is not True] == []
    else:
        assert {one.name: one.value for one in explained.features} == {
            name: value for name, value in trained.items() if name in NAMES
        }
