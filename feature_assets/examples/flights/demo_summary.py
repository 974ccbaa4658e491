"""What the demo shows at the end: every figure read back from the lake, the ledger, the registry or the online store.

Invariant: it changes nothing, and it prints no figure that it did not just read or compute.
"""

from collections import Counter
from datetime import timedelta

import pyarrow as pa

from feature_assets.cli.output import out, show_table
from feature_assets.clock import to_us
from feature_assets.examples.flights.project import FLIGHT_DELAY
from feature_assets.modelling import by_event_time, leakage, newest_training_set
from feature_assets.quality.history import DriftHistory
from feature_assets.retraining.decisions import Decisions, Kind
from feature_assets.retraining.manifest import TrainingData, model_id
from feature_assets.retraining.metrics import auc
from feature_assets.retraining.predictor import Predictor, load
from feature_assets.retraining.registry import ModelRegistry
from feature_assets.retraining.trainer import between, labels_of, train
from feature_assets.store import FeatureStore
from feature_assets.training.leakage import LeakageReport
from feature_assets.training.loader import TrainingSet

MOST_LEAKING = 5


def show_summary(store: FeatureStore) -> None:
    """Print the summary of a finished demo."""
    _counts(store)
    manifest, data = newest_training_set(store, FLIGHT_DELAY)
    _leakage(leakage(store, TrainingSet(data.table, manifest)))
    _aucs(store, data, by_event_time(store, FLIGHT_DELAY, data.table).table)
    _drift(store)
    _decisions(store)
    _lookup(store)


def show_next() -> None:
    """Print what one can do with what the demo left."""
    out.print(
        "\nNext: [bold]make ui[/] opens Dagster on what just ran (assets, checks, sensor, plots); "
        "[bold].venv/bin/feature-assets plan[/] shows what is published and what it costs."
    )


def _counts(store: FeatureStore) -> None:
    rows = []
    for view in store.project.views:
        versions = store.view_table(view).partition_versions()
        verdicts = store.verdicts.of(view.name, store.version(view))
        state = store.push_state(view)
        days = len(set(versions["partition"].to_pylist()))
        passed = Counter(verdicts["passed"].to_pylist())
        rows.append(
            (
                view.name,
                ", ".join(view.entity.key_names),
                sum(versions["rows"].to_pylist()),
                days,
                versions.num_rows - days,
                passed[True],
                passed[False],
                f"{state.have} of {state.wanted}",
            )
        )
    columns = ("view", "keys", "rows", "days", "corrections", "passed", "failed", "published")
    show_table("Feature views", columns, rows)


def _leakage(report: LeakageReport) -> None:
    worst = sorted(report.features, key=lambda feature: -feature.share)[:MOST_LEAKING]
    out.print(
        f"\n[bold]Leakage[/] in {report.rows:,} rows: {report.leaked_served:,} use a value that was not available yet; "
        f"joined on event time, {report.leaked_by_event:,} would. Most affected:"
    )
    for feature in worst:
        out.print(f"  {feature.share:6.1%} of rows differ   {feature.feature}")


def _aucs(store: FeatureStore, data: TrainingData, by_event: pa.Table) -> None:
    served = data.table
    _, _, test_start = FLIGHT_DELAY.split.at(data.until)

    def trained(table: pa.Table) -> Predictor:
        found = train(FLIGHT_DELAY, _with_table(data, table), clock=store.clock)
        return load(found.manifest, found.text.encode())

    def score(model: Predictor, table: pa.Table) -> float:
        rows = between(FLIGHT_DELAY, table, to_us(test_start), to_us(data.until))
        return auc(labels_of(FLIGHT_DELAY, rows), model.predict(rows))

    registry, known = ModelRegistry(store.lake, FLIGHT_DELAY.name), model_id(FLIGHT_DELAY, data)
    # The challenger was trained on these very rows, and would come out the same to the byte.
    honest = registry.load(known) if registry.has(known) else trained(served)
    naive = trained(by_event)
    out.print("\n[bold]The same model, three figures[/] (AUC on the last 30 days, unseen by both):")
    out.print(f"  {score(naive, by_event):.4f}   trained on an event-time join: how it looks offline")
    out.print(f"  {score(naive, served):.4f}   the same model, given what is served")
    out.print(f"  {score(honest, served):.4f}   trained on what is served, given what is served")


def _with_table(data: TrainingData, table: pa.Table) -> TrainingData:
    """The same training data with another table."""
    return TrainingData(table, data.manifest_id, data.versions, data.commit_seq, data.until)


def _drift(store: FeatureStore) -> None:
    out.print("\n[bold]Drift[/] of the last week against the champion's training rows:")
    for view in store.project.views:
        record = DriftHistory(store.lake, view.name).latest()
        if record is not None and record.report.drifted:
            names = ", ".join(feature.name for feature in record.report.drifted)
            out.print(f"  {view.name}: {names}")


def _decisions(store: FeatureStore) -> None:
    out.print("\n[bold]The gate's decisions[/]:")
    for row in Decisions(store.lake).rows(FLIGHT_DELAY.name):
        if row.kind is Kind.CHAMPION:  # what the promotion before it led to
            continue
        verdict = "yes" if row.go else "no"
        out.print(f"  {row.decided_at:%Y-%m-%d %H:%M} {row.kind.value} {row.candidate}: [bold]{verdict}[/]")
        for reason in row.reasons:
            out.print(f"      {reason}", markup=False, soft_wrap=True)


def _lookup(store: FeatureStore) -> None:
    now = store.clock.now()
    yesterday = FLIGHT_DELAY.spine(now - timedelta(days=1), now)
    upcoming = yesterday.slice(yesterday.num_rows - 1)
    answer = store.get(upcoming, service=FLIGHT_DELAY.service.name)
    flight = upcoming["flight_id"][0].as_py()
    values = answer.to_pylist()[0]
    rows = []
    for name, statuses in answer.status.items():
        meta = answer.meta.get(name.split("__", maxsplit=1)[0])
        age = None if meta is None or meta.age[0] is None else str(meta.age[0]).split(".", maxsplit=1)[0]
        rows.append((name, values[name], statuses[0].name, age))
    show_table(
        f"\nOnline lookup: as flight {flight}, asked at {now:%Y-%m-%d %H:%M} UTC",
        ("feature", "value", "status", "age"),
        rows,
    )
