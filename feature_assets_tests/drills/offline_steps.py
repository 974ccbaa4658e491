"""The steps of the offline store as a drill runs them: in this process, or in one of their own that is to be killed.

    python -m feature_assets_tests.drills.offline_steps ROOT STEP

Invariant: a step depends on nothing but the lake under ROOT and its name, so running it again is what a retry does.
"""

import sys
from datetime import timedelta

from feature_assets.definition.project import Project
from feature_assets.definition.version import view_version
from feature_assets.definition.view import FeatureView
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import LedgerRow
from feature_assets.offline.maintenance import compact
from feature_assets.offline.materialize import materialize_source, materialize_view
from feature_assets.offline.table import dead_letter_table, event_table, feature_table
from feature_assets.offline.verdicts import Verdict, Verdicts
from feature_assets_tests.report_log import ReportLog, at, clock, day
from feature_assets_tests.weather import AIRPORT, as_reported, view

TARGET = "sqlite:drill"
DAYS = [day(number) for number in range(1, 5)]
STEPS = ("source", "view", "verdict", "ledger", "correct_source", "correct_view", "compact")
"""In the order in which they are taken; each needs what those before it left."""


def log(*, corrected: bool) -> ReportLog:
    """Four days of reports; a corrected one has one more on the second day and, in the third, one ahead of arrival."""
    found = ReportLog()
    for number in range(1, 5):
        for airport in ("JFK", "LGA", "EWR"):
            found.add(airport, number, 6.0, 10.0 * number)
    if corrected:
        found.add("BOS", 2, 7.0, 1.0)
        found.add("BOS", 3, 7.0, 1.0, late=-2.0)
    return found


def weather() -> FeatureView:
    """The view of these reports."""
    return view(as_reported, sources=log(corrected=False).source(), delay=timedelta(hours=1))


def verdicts() -> list[Verdict]:
    """That every partition of the first commit passed."""
    of = {"view": "weather", "version": view_version(weather()), "commit_seq": 1, "passed": True, "checked_at": at(9)}
    return [Verdict(**of, partition=one.isoformat()) for one in DAYS]  # type: ignore[arg-type] # the fields above


def ledger_rows() -> list[LedgerRow]:
    """That the state at the first commit was pushed and serves."""
    of = {"view": "weather", "version": view_version(weather()), "target": TARGET, "commit_seq": 1}
    acks = [LedgerRow(**of, kind="ack", bucket=bucket, sent_at=10, acked_at=20) for bucket in range(16)]  # type: ignore[arg-type] # the fields above
    return [*acks, LedgerRow(**of, kind="serving", sent_at=10, acked_at=30)]  # type: ignore[arg-type] # the fields above


def take(root: str, step: str) -> None:
    """Take one step."""
    lake, now = Lake(root), clock(9)
    if step in ("source", "correct_source"):
        materialize_source(log(corrected=step == "correct_source").source(), DAYS, lake=lake, clock=now)
    elif step in ("view", "correct_view"):
        materialize_view(weather(), DAYS, lake=lake, clock=now)
    elif step == "verdict":
        Verdicts(lake).record(verdicts())
    elif step == "ledger":
        DeltaLedger(lake).append(ledger_rows())
    else:
        of = weather()
        project = Project("drill", sources=of.sources, views=[of], services=[], entities=[AIRPORT])
        compact(lake, project, ledger=DeltaLedger(lake), target=TARGET)


def state(root: str) -> dict[str, object]:
    """Everything that a reader can see, table by table."""
    lake = Lake(root)
    of = view_version(weather())
    source = log(corrected=False).source()
    found: dict[str, object] = {}
    for table in (event_table(lake, source), dead_letter_table(lake, source), feature_table(lake, weather())):
        versions = table.partition_versions()
        found[table.name] = (versions, table.read_versions(), table.read())
    found["verdicts"] = Verdicts(lake).of("weather", of)
    # A ledger row that is there twice says nothing else than once.
    found["availability"] = set(DeltaLedger(lake).rows(view="weather"))
    return found


if __name__ == "__main__":
    take(*sys.argv[1:3])
