"""The demo: the year 2013 through the whole loop, on a simulated clock, by the same jobs and sensor as in the UI.

    history     eleven months and 24 days, one Dagster run per month: sources, views, expectations
    bootstrap   the push sensor finds seven views that are committed and not published
    champion    a first training set (all of it simulated availability, as nothing was served yet) and a first model
    last week   day by day: yesterday's flights as they were known at 06:30, late corrections, push by the sensor
    retraining  drift of the last week, a fresh training set, the gate, a challenger against the champion
    lookup      the features of a flight that departs next, with statuses and ages
    serving     the same over HTTP, and how long that takes

Invariant: it can be interrupted and started again at any point: what is there is not done twice, and the clock never
goes back. It computes every figure that it prints.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from feature_assets.cli.output import err, out, terminal
from feature_assets.clock import ReplayClock
from feature_assets.errors import FeatureAssetsError, SettingsError
from feature_assets.examples.flights.demo_serving import show_serving
from feature_assets.examples.flights.demo_summary import show_next, show_summary
from feature_assets.examples.flights.project import FLIGHT_DELAY, project
from feature_assets.orchestration.assets.keys import drift_key, model_key, training_set_key
from feature_assets.orchestration.instance import open_instance
from feature_assets.orchestration.jobs import DRIFT_JOB, RETRAIN_JOB
from feature_assets.orchestration.launch import Launcher, RunOutcome, asset_keys, missing_days, month_chunks
from feature_assets.orchestration.partitions import day_range
from feature_assets.retraining.decisions import Decisions, Kind
from feature_assets.retraining.registry import ModelRegistry
from feature_assets.settings import ClockKind, load_settings
from feature_assets.store import FeatureStore

FIRST_DAY: Final = date(2013, 1, 1)
LAST_WEEK: Final = date(2013, 12, 25)
LAST_DAY: Final = date(2013, 12, 31)
PUBLISHED_AT: Final = time(6, 30, tzinfo=UTC)


def run_demo(root: Path, *, fresh: bool) -> None:
    """Run the demo in `root`. With `fresh`, what an earlier demo left there is deleted first."""
    # In the environment, so that the runs (whose resources read it) and a UI started later see the same place.
    os.environ.update(FEATURE_ASSETS_ROOT=str(root), FEATURE_ASSETS_CLOCK=ClockKind.REPLAY.value)
    settings = load_settings()
    if fresh and root.exists():
        _delete(root, settings.replay_clock_path)
    root.mkdir(parents=True, exist_ok=True)
    clock = ReplayClock(settings.replay_clock_path)
    _advance(clock, _morning_after(FIRST_DAY))
    out.print(f"[bold]feature_assets demo[/]: New York's flights of 2013 in [bold]{root}/[/] (simulated clock)")
    store = FeatureStore.open(settings, project=project)
    try:
        with open_instance(settings) as instance, _bars() as bars:
            _Demo(store, Launcher(project, instance), clock, bars).run()
    except KeyboardInterrupt:
        err.print("\ninterrupted: nothing is broken; [bold]make demo[/] goes on from here")
        raise SystemExit(130) from None
    show_summary(store)
    store.close()
    show_serving(store)
    show_next()


def _delete(root: Path, clock: Path) -> None:
    if any(root.iterdir()) and not clock.exists():
        raise SettingsError(
            f"{root} was not made by a demo (it has no {clock.name}), so it is not deleted",
            hint="choose another folder with --root",
        )
    shutil.rmtree(root)


def _morning_after(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), PUBLISHED_AT)


def _advance(clock: ReplayClock, at: datetime) -> None:
    """Set the simulated clock to `at`, unless it is past that already."""
    if not clock.path.exists() or clock.now() < at:
        clock.set(at)


@contextmanager
def _bars() -> Iterator[Progress]:
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # What a run prints goes to the run's own log, the bars do not.
    plain = partial(Progress, *columns, redirect_stdout=False, redirect_stderr=False)
    with terminal() as console, plain(console=console) as bars:
        yield bars


@dataclass(frozen=True, slots=True)
class _Demo:
    """The steps, in order."""

    store: FeatureStore
    launcher: Launcher
    clock: ReplayClock
    bars: Progress

    def run(self) -> None:
        self._history()
        _advance(self.clock, _morning_after(LAST_WEEK - timedelta(days=1)))
        self._tick("publish: the sensor's first tick")
        if ModelRegistry(self.store.lake, FLIGHT_DELAY.name).champion() is None:
            self._model("first model")
        self._last_week()
        if not self._retrained_since(_morning_after(LAST_DAY)):
            self._model("drift, gate, retraining")

    def _history(self) -> None:
        days = day_range(FIRST_DAY, LAST_WEEK - timedelta(days=1))
        missing = missing_days(self.store, project.sources, project.views, days)
        months = month_chunks(missing)
        task = self.bars.add_task("history: sources, views, checks", total=len(months))
        for month in months:
            # A day after the month's last flight, so that everything of it has landed.
            _advance(self.clock, _morning_after(month[-1] + timedelta(days=1)))
            self._checked(self.launcher.materialize(asset_keys(project.sources, project.views), month))
            self.bars.advance(task)

    def _tick(self, what: str) -> None:
        task = self.bars.add_task(what, total=1)
        for outcome in self.launcher.tick_push_sensor():
            self._checked(outcome)
        self.bars.advance(task)

    def _last_week(self) -> None:
        days = day_range(LAST_WEEK, LAST_DAY)
        missing = missing_days(self.store, project.sources, project.views, days)
        task = self.bars.add_task("last week: day by day, sensor", total=len(missing))
        for day in missing:
            _advance(self.clock, _morning_after(day))
            due = day_range(day - timedelta(days=1), day)
            self._checked(self.launcher.materialize(asset_keys(project.sources, project.views), due))
            for outcome in self.launcher.tick_push_sensor():
                self._checked(outcome)
            self.bars.advance(task)

    def _model(self, what: str) -> None:
        task = self.bars.add_task(what, total=2)
        self._checked(self.launcher.run(DRIFT_JOB, [drift_key(view) for view in FLIGHT_DELAY.service.views]))
        self.bars.advance(task)
        self._checked(self.launcher.run(RETRAIN_JOB, [training_set_key(FLIGHT_DELAY), model_key(FLIGHT_DELAY)]))
        self.bars.advance(task)

    def _retrained_since(self, at: datetime) -> bool:
        rows = Decisions(self.store.lake).rows(FLIGHT_DELAY.name)
        return any(row.kind is Kind.RETRAIN and row.decided_at >= at for row in rows)

    def _checked(self, outcome: RunOutcome) -> None:
        if outcome.success:
            return
        what: Sequence[str] = (*outcome.failures, *outcome.failed_checks)
        raise FeatureAssetsError(
            f"run {outcome.run_id} failed: {'; '.join(what) or 'see the UI'}",
            hint="make ui shows the run; make demo goes on from here once the cause is gone",
        )
