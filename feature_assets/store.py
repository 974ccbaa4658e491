"""The feature store of a project: the one object that programs, the command line and Dagster work through.

    store = FeatureStore.open(project=project)
    store.training_set(spine, service="flight_delay", timestamp="as_of")
    store.get([{"carrier": "UA", ...}], service="flight_delay")

Invariant: it composes and keeps no state of its own; two of them over the same root see the same things (in one process
they share what was read of the ledger and the verdicts). What it does is done by the stages below it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Literal, Self

import msgspec
import pandas as pd
import pyarrow as pa

from feature_assets.clock import Clock, SystemClock, to_us
from feature_assets.definition.model import Label
from feature_assets.definition.project import Project
from feature_assets.definition.source import BatchSource
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureRef, FeatureView
from feature_assets.offline.delta_ledger import DeltaLedger, ledger_of
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import LedgerRow, is_serving, previous_version
from feature_assets.offline.materialize import materialize_source, materialize_view
from feature_assets.offline.table import PartitionedTable, event_table, feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts, settled_head, verdicts_of
from feature_assets.offline.versions import newest
from feature_assets.online.contents import contents_of
from feature_assets.online.plan import PushPlan, PushState, plan_push, push_state
from feature_assets.online.push import PushOptions, PushResult, push
from feature_assets.online.read_back import ReadBack, read_back
from feature_assets.online.sizing import ViewSize, sized
from feature_assets.online.store import OnlineStore
from feature_assets.opening import OnlineAccess, clock_of, import_project, lake_of, require_storable
from feature_assets.quality.checked import check_commit
from feature_assets.quality.consistency import ConsistencyHistory, consistency_of
from feature_assets.serving.client import ClientOptions, Observer, OnlineClient
from feature_assets.serving.explain import Explanation, Limits, explain
from feature_assets.serving.reader import Answer, OnlineReader
from feature_assets.serving.served_log import ServedLog, ServedLogOptions
from feature_assets.serving.versions import serving_versions
from feature_assets.settings import Settings, load_settings
from feature_assets.training.history import History
from feature_assets.training.leakage import LeakageReport, leakage_report
from feature_assets.training.loader import Progress, TrainingSet, training_set
from feature_assets.training.modes import AnyMode, WhatIf
from feature_assets.training.spine import Immature
from feature_assets.training.validity import MAX_ROWS, value_history

_NOT_IN_A_SIMULATION = timedelta(days=36_500)
"""A store drops what has expired by the real clock, in whose past everything of a simulated one may be."""


class ViewPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Where a view stands: what is committed, what still waits for a verdict, what is published, and what it costs.

    `committed`, `wanted` and `published` are commit sequences; `pending` counts partition versions without a verdict.
    """

    view: str
    version: str
    state: Literal["serving", "loading"]
    committed: int
    pending: int
    published: int
    reason: str
    size: ViewSize


@dataclass(frozen=True, slots=True)
class FeatureStore:
    """A project over its lake, ledger and online store. Make one with `open`."""

    project: Project
    lake: Lake
    ledger: DeltaLedger
    verdicts: Verdicts
    clock: Clock
    memory_limit: int
    access: OnlineAccess = field(repr=False)

    @classmethod
    def open(cls, settings: Settings | None = None, *, project: Project | None = None) -> "FeatureStore":
        """The store that `settings` describe (default: the environment). It opens and writes nothing yet.

        Raises `SettingsError` for a wrong setting or a project that cannot be imported, and `DefinitionError` for one
        with a view whose items no store would take.
        """
        settings = settings or load_settings()
        project = project or import_project(settings.project)
        require_storable(project)
        lake = lake_of(settings)
        return cls(
            project=project,
            lake=lake,
            ledger=ledger_of(lake),
            verdicts=verdicts_of(lake),
            clock=clock_of(settings),
            memory_limit=settings.memory_limit_mb * 1024 * 1024,
            access=OnlineAccess(settings),
        )

    @property
    def online(self) -> OnlineStore:
        """The online store, opened when it is first asked for: computing and checking do not depend on it."""
        return self.access.store()

    @property
    def target(self) -> str:
        """What the ledger calls the online store."""
        return self.access.target()

    def close(self) -> None:
        """Close the online store, if it was opened. Nothing is lost without it."""
        self.access.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------ offline
    def source_table(self, source: BatchSource) -> PartitionedTable:
        """`events/<source>`."""
        return event_table(self.lake, source)

    def view_table(self, view: FeatureView, version: str | None = None) -> PartitionedTable:
        """`features/<view>/<version>`; the version of the code if none is given."""
        return feature_table(self.lake, view, version)

    def version(self, view: FeatureView) -> str:
        """The version of the view as the code has it."""
        return view_version(view)

    def materialize(self, days: Sequence[date], views: Sequence[FeatureView] | None = None) -> list[Verdict]:
        """Compute `days` of `views` (default: all) and of their sources, and check them; returns the verdicts."""
        chosen = self.project.views if views is None else views
        for source in {source.name: source for view in chosen for source in view.sources}.values():
            materialize_source(source, days, lake=self.lake, clock=self.clock)
        verdicts = []
        for view in chosen:
            done = materialize_view(view, days, lake=self.lake, clock=self.clock)
            verdicts += check_commit(view, done, lake=self.lake, verdicts=self.verdicts, clock=self.clock)
        return verdicts

    # ------------------------------------------------------------------------------------------------------- online
    def publish(self, views: Sequence[FeatureView] | None = None) -> dict[str, PushResult]:
        """Push every view (default: all online ones) that is behind, and read it back; returns what was pushed."""
        done = {}
        for view in self.project.views if views is None else views:
            plan = self.plan_push(view) if view.online else None
            if plan is not None:
                done[view.name] = self.push(view, plan)
                self.record_consistency(view, self.read_back(view))
        return done

    def push_state(self, view: FeatureView) -> PushState:
        """What should be published, and what is."""
        return push_state(
            view,
            version=self.version(view),
            table=self.view_table(view),
            verdicts=self.verdicts,
            ledger=self.ledger,
            target=self.target,
            covering=self._covering(view),
        )

    def plan_push(self, view: FeatureView) -> PushPlan | None:
        """The push that is due, or None."""
        return plan_push(
            view,
            version=self.version(view),
            table=self.view_table(view),
            verdicts=self.verdicts,
            ledger=self.ledger,
            target=self.target,
            covering=self._covering(view),
        )

    def held_up(self, view: FeatureView) -> str:
        """Why no push of `view` is due: everything is published, or what is committed may not be."""
        version = self.version(view)
        pending = self.verdicts.pending(view.name, version, self.view_table(view).partition_versions())
        if pending.num_rows:
            first = pending["partition"][0].as_py()
            return f"{pending.num_rows} days are pending, their verdicts are missing: materialize {first} again"
        missing = self._covering(view) - self._passed(view, version)
        if missing and not is_serving(self.ledger.rows(view=view.name, version=version, target=self.target)):
            return (
                f"version {version} does not take over before it has all days of the one that serves: "
                f"{len(missing)} are missing, first {min(missing)}"
            )
        return "nothing is due"

    def plan_view(self, view: FeatureView) -> ViewPlan:
        """Where a view stands, and what its items take and cost online. Reads only."""
        version, table = self.version(view), self.view_table(view)
        versions = table.partition_versions()
        state, due = self.push_state(view), self.plan_push(view)
        serving = is_serving(self.ledger.rows(view=view.name, version=version, target=self.target))
        partitions = set(versions["partition"].to_pylist())
        return ViewPlan(
            view=view.name,
            version=version,
            state="serving" if serving else "loading",
            committed=table.head(),
            pending=self.verdicts.pending(view.name, version, versions).num_rows,
            published=state.have,
            reason=self.held_up(view) if due is None else due.reason,
            size=sized(view, table, partitions, contents_of(view)),
        )

    def push(self, view: FeatureView, plan: PushPlan, *, run_id: str = "") -> PushResult:
        """Carry a plan out. Idempotent."""
        options = PushOptions(contents_of(view), run_id=run_id)
        if not isinstance(self.clock, SystemClock):
            options = replace(options, expiry_margin=_NOT_IN_A_SIMULATION)
        return push(
            plan,
            view,
            table=self.view_table(view),
            ledger=self.ledger,
            store=self.online,
            clock=self.clock,
            options=options,
        )

    def retire(self, view: FeatureView) -> None:
        """Say that the online store no longer holds `view`: its next push loads all of it again.

        For a store that lost its items (a file was removed, a table dropped), which the ledger cannot know.
        A training set does not show the gap: what was answered in it is unknown, not absent.
        """
        now = to_us(self.clock.now())
        row = LedgerRow(
            kind="retired",
            view=view.name,
            version=self.version(view),
            target=self.target,
            sent_at=now,
            acked_at=now,
        )
        self.ledger.append([row])

    def record_consistency(self, view: FeatureView, found: ReadBack, *, run_id: str = "") -> None:
        """Keep what a read-back found as evidence for the gate."""
        record = consistency_of(view.name, self.version(view), self.target, found.n, found, self.clock)
        ConsistencyHistory(self.lake).append(record, run_id=run_id)

    def read_back(self, view: FeatureView) -> ReadBack:
        """Reads a sample of what the ledger says is published, consistently, and compares it with Delta."""
        return read_back(
            view,
            version=self.version(view),
            table=self.view_table(view),
            verdicts=self.verdicts,
            ledger=self.ledger,
            store=self.online,
            contents=contents_of(view),
            now=to_us(self.clock.now()),
        )

    def reader(self) -> OnlineReader:
        """The online reader of the project. Who asks often keeps it: what it has compiled is reused."""
        return OnlineReader(self.project, self.online, self.ledger, self.clock, lake=self.lake)

    def client(self, options: ClientOptions | None = None, *, observers: Sequence[Observer] = ()) -> OnlineClient:
        """A client for a program that asks often: with a cache, and guarded against a failing store and too much load.

        It reads from this store's online store, and is to be closed before it.
        """
        return OnlineClient.over(
            self.project, self.online, self.ledger, self.clock, lake=self.lake, options=options, observers=observers
        )

    def served_log(self, options: ServedLogOptions | None = None) -> ServedLog:
        """A log of the answers that this process gives: hand each over, and close it at the end."""
        return ServedLog(self.lake, self.project, self.clock, options, target=self.target)

    def get(
        self,
        entities: pa.Table | pd.DataFrame | Sequence[Mapping[str, object]],
        *,
        service: str,
        as_of: datetime | None = None,
    ) -> Answer:
        """Features of `entities` (the service's keys and request fields) as the online store has them now."""
        return self.reader().get(service, entities, as_of=as_of)

    def explain(
        self,
        entity: Mapping[str, object] | pa.Table,
        *,
        service: str,
        as_of: datetime | None = None,
        features: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> Explanation:
        """Why the features of one entity are what they are, now or as of an instant: see `serving.explain`.

        Of an instant in the past there is only the history to explain, as the online store keeps none.
        """
        return explain(
            service,
            entity,
            as_of=as_of,
            features=features,
            limits=limits,
            project=self.project,
            history=History(self.view_table, self.verdicts, self.ledger, self.target),
            online=lambda: self.online,
            clock=self.clock,
            lake=self.lake,
        )

    def _covering(self, view: FeatureView) -> frozenset[str]:
        """The days that the version serving now has: another does not take over, or again, before it has them too."""
        version = self.version(view)
        rows = self.ledger.rows(view=view.name, target=self.target)
        others = [one.version for one in serving_versions(rows) if one.version != version]
        before = others[-1] if others else previous_version(rows, version)
        if before is None:
            return frozenset()
        # A day that never passed is not served, and need not pass now.
        return self._passed(view, before)

    def _passed(self, view: FeatureView, version: str) -> frozenset[str]:
        """The days of a version that may be served: of each, some version passed, and no verdict is missing before."""
        versions = self.view_table(view, version).partition_versions()
        settled = settled_head(versions, self.verdicts.of(view.name, version))
        pairs = zip(versions["partition"].to_pylist(), versions["commit_seq"].to_pylist(), strict=True)
        return frozenset(newest(pairs, upto=settled, excluded=self.verdicts.excluded(view.name, version)))

    # ----------------------------------------------------------------------------------------------------- training
    def training_set(  # noqa: PLR0913 # every choice of a training set, each by its name
        self,
        spine: pa.Table | pd.DataFrame,
        *,
        service: str,
        timestamp: str,
        mode: str | AnyMode = "as_served",
        ttl: Mapping[str, timedelta | None] | None = None,
        label: Label | None = None,
        immature: Immature = "refuse",
        name: str | None = None,
        progress: Progress | None = None,
    ) -> TrainingSet:
        """Join the features of `service` to `spine`: what serving would have returned at each row's `timestamp`.

        Rows out equal rows in, in the same order. `ttl` overrides the time to live per view. With `label`, rows whose
        outcome is not known yet are refused (or dropped, with `immature="drop"`). In the mode `as_logged` it is what
        serving did return, by request id: `mode=as_logged(missing="null")`.
        """
        return training_set(
            self.project,
            spine,
            service=service,
            timestamp=timestamp,
            mode=mode,
            lake=self.lake,
            ledger=self.ledger,
            verdicts=self.verdicts,
            target=self.target,
            clock=self.clock,
            ttl=ttl or {},
            label=label,
            immature=immature,
            name=name,
            memory_limit=self.memory_limit,
            progress=progress,
        )

    def history(
        self,
        view: FeatureView | FeatureRef,
        start: datetime,
        end: datetime,
        entities: pa.Table | pd.DataFrame | None = None,
        *,
        mode: str | AnyMode = "as_served",
        max_rows: int = MAX_ROWS,
    ) -> pa.Table:
        """What `view` (or some of its features, `view["one", "other"]`) had from `start` until `end`, without a spine.

        A row per entity and interval in which nothing changed: keys, features, `valid_from`, `valid_to` (null if it was
        still so at `end`), `availability`. `entities`: whose, as a table of their keys; None: of all there are.
        """
        return value_history(
            view,
            start,
            end,
            History(self.view_table, self.verdicts, self.ledger, self.target),
            entities=entities,
            mode=mode,
            memory_limit=self.memory_limit,
            max_rows=max_rows,
        )

    def leakage_report(
        self, made: TrainingSet, *, what_if: WhatIf | None = None, progress: Progress | None = None
    ) -> LeakageReport:
        """What a join on event time would have given in place of `made`, feature by feature, and how old values were.

        `what_if`: a schedule to compare with as well. The same pins are read, whatever was committed since.
        """
        return leakage_report(
            made,
            project=self.project,
            lake=self.lake,
            ledger=self.ledger,
            verdicts=self.verdicts,
            what_if=what_if,
            memory_limit=self.memory_limit,
            progress=progress,
        )
