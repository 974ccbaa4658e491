"""Drift of a view: its newest rows against those that a model was trained on.

Invariant: the baseline is a window of partitions at a commit, so it is the same whenever it is profiled; its profile is
kept beside the data and computed once. What failed its expectations takes no part, on either side.
"""

from datetime import date, timedelta

from feature_assets.clock import Clock
from feature_assets.definition.view import FeatureView
from feature_assets.errors import InputError
from feature_assets.offline.lake import Lake
from feature_assets.offline.table import feature_table
from feature_assets.offline.verdicts import Verdicts
from feature_assets.quality.drift import MAX_PSI, drifted
from feature_assets.quality.history import DriftHistory, DriftRecord, Window
from feature_assets.quality.profile import Profile, profiled, read_profile

FOLDER = "profiles"


def check_drift(  # noqa: PLR0913 - what is compared, and where it is
    view: FeatureView,
    version: str,
    *,
    baseline: Window,
    current: Window,
    lake: Lake,
    verdicts: Verdicts,
    clock: Clock,
    reference: str = "",
    max_psi: float = MAX_PSI,
) -> DriftRecord:
    """Compare the features of two windows of a view version, keep the report in `drift/<view>` and return it.

    `reference` says what the baseline stands for, e.g. the id of the model that was trained on it.
    """
    then = baseline_profile(view, version, baseline, lake=lake, verdicts=verdicts)
    now = window_profile(view, version, current, lake=lake, verdicts=verdicts, reference=then)
    record = DriftRecord(
        view=view.name,
        version=version,
        baseline=baseline,
        current=current,
        reference=reference,
        checked_at=clock.now(),
        report=drifted(then, now, max_psi=max_psi),
    )
    DriftHistory(lake, view.name).append(record)
    return record


def baseline_profile(view: FeatureView, version: str, window: Window, *, lake: Lake, verdicts: Verdicts) -> Profile:
    """The profile of a window, from where it is kept; made and kept if it is not there."""
    at = (FOLDER, view.name, version, f"{window.first}_{window.last}_{window.commit_seq}.json")
    kept = lake.read_bytes(*at)
    if kept is not None:
        return read_profile(kept)
    made = window_profile(view, version, window, lake=lake, verdicts=verdicts)
    lake.write_bytes(made.to_json(), *at)
    return made


def window_profile(
    view: FeatureView,
    version: str,
    window: Window,
    *,
    lake: Lake,
    verdicts: Verdicts,
    reference: Profile | None = None,
) -> Profile:
    """The profile of a view's features over a window; by the bins of `reference` if there is one."""
    names = view.stored_names
    rows = feature_table(lake, view, version).read(
        partitions=_partitions(window),
        upto=window.commit_seq,
        columns=names,
        excluded=verdicts.excluded(view.name, version),
    )
    return profiled(rows, names, reference)


def _partitions(window: Window) -> list[str]:
    try:
        first, last = date.fromisoformat(window.first), date.fromisoformat(window.last)
    except ValueError as error:
        raise InputError(f"a window is given by days: {error}", hint="YYYY-MM-DD, e.g. 2026-01-31") from error
    if last < first:
        raise InputError(f"the window {window.first} to {window.last} ends before it begins")
    return [(first + timedelta(days=day)).isoformat() for day in range((last - first).days + 1)]
