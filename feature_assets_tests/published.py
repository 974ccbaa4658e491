"""A few views published for tests of serving: tables in memory, pushed by the product's own push into a store.

Invariant: whatever is in the store got there by `push`, and the ledger knows about it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa

from feature_assets.clock import ManualClock
from feature_assets.compute.engine import view_schema
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.ledger import Ledger, MemoryLedger
from feature_assets.online.contents import contents_of
from feature_assets.online.memory import MemoryStore
from feature_assets.online.plan import plan_push
from feature_assets.online.push import PushOptions, PushResult, push
from feature_assets.online.store import OnlineStore
from feature_assets.serving.reader import OnlineReader
from feature_assets.testing.lake import MemoryTable, MemoryVerdicts
from feature_assets_tests.histories import DAY, SOURCE, START, partition_table

Rows = Sequence[Mapping[str, object]]


@dataclass
class Published:
    """Views in memory and what is published of them. `clock` stands a day after `START`, in `histories`."""

    store: OnlineStore = field(default_factory=MemoryStore)
    ledger: Ledger = field(default_factory=MemoryLedger)
    clock: ManualClock = field(default_factory=lambda: ManualClock(START + DAY))
    tables: dict[tuple[str, str], tuple[MemoryTable, MemoryVerdicts]] = field(default_factory=dict)

    def commit(self, view: FeatureView, rows: Rows, *, partition: date | None = None, passed: bool = True) -> None:
        """Commit a partition (default: that of `START`), with its verdict."""
        table, verdicts = self._table(view)
        name = (partition or START.date()).isoformat()
        seq = table.commit({name: partition_table(view, rows)})
        assert seq is not None, "the same rows again"
        verdicts.record((name, seq), passed=passed)

    def push(self, view: FeatureView) -> PushResult:
        """Push what is due."""
        table, verdicts = self._table(view)
        target, version = self.store.target, view_version(view)
        plan = plan_push(view, version=version, table=table, verdicts=verdicts, ledger=self.ledger, target=target)
        assert plan is not None, "nothing is due"
        options = PushOptions(contents_of(view), sleep=lambda _: None)
        return push(plan, view, table=table, ledger=self.ledger, store=self.store, clock=self.clock, options=options)

    def publish(self, view: FeatureView, rows: Rows) -> None:
        """Commit and push."""
        self.commit(view, rows)
        self.push(view)

    def reader(self, *features: Any, store: OnlineStore | None = None, **options: Any) -> OnlineReader:  # noqa: ANN401 - as the reader and a service have it
        """A reader of a project with one service, `it`, of these features."""
        return OnlineReader(project_of(*features), store or self.store, self.ledger, self.clock, **options)

    def later(self, **by: float) -> None:
        """Let time pass."""
        self.clock.advance(timedelta(**by))

    def _table(self, view: FeatureView) -> tuple[MemoryTable, MemoryVerdicts]:
        schema = view_schema(view).append(pa.field("bucket", pa.int32()))
        return self.tables.setdefault((view.name, view_version(view)), (MemoryTable(schema), MemoryVerdicts()))


def project_of(*features: Any) -> Project:  # noqa: ANN401 - as a service has it
    """A project with one service, `it`."""
    service = FeatureService("it", features)
    return Project("test", sources=[SOURCE], views=service.views, services=[service])


def at(hours: float) -> datetime:
    """Hours after `START`."""
    return START + timedelta(hours=hours)
