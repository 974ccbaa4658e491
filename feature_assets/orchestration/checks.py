"""Asset checks: what a view declares (expectations), and that a push arrived (read back).

Invariant: a check result is a projection of a recorded verdict or read-back; publishing never asks Dagster, it
re-reads the verdict from the lake.
"""

from collections.abc import Sequence

import dagster as dg

from feature_assets.definition.view import FeatureView
from feature_assets.offline.verdicts import Verdict
from feature_assets.online.push import ReadBack
from feature_assets.quality.expectations import expectation_rows

EXPECTATIONS = "expectations"
WARNINGS = "warnings"
READ_BACK = "read_back"


def view_check_specs(view: FeatureView, key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """A blocking check for the critical expectations and a warning one for the rest; none where none is declared."""
    severities = {expectation.severity for expectation in view.expectations}
    specs = []
    if "critical" in severities:
        specs.append(
            dg.AssetCheckSpec(
                EXPECTATIONS, asset=key, blocking=True, description="what must hold before a partition may be served"
            )
        )
    if "warning" in severities:
        specs.append(dg.AssetCheckSpec(WARNINGS, asset=key, description="what should hold; never blocks"))
    return specs


def view_check_results(
    view: FeatureView, key: dg.AssetKey, verdicts: Sequence[Verdict], head: int
) -> list[dg.AssetCheckResult]:
    """One result per declared check over all partitions of the run, with the failing partitions named."""
    rows = [dg.TableRecord(record) for record in expectation_rows(verdicts)]
    results = []
    for spec in view_check_specs(view, key):
        blocking = spec.name == EXPECTATIONS
        failed = [v for v in verdicts if (not v.passed if blocking else v.warnings > 0)]
        metadata: dict[str, dg.MetadataValue] = {
            "partitions": dg.MetadataValue.int(len(verdicts)),
            "failed_partitions": dg.MetadataValue.text(", ".join(v.partition for v in failed[:31]) or "none"),
            "commit_seq": dg.MetadataValue.int(head),
        }
        if rows:
            metadata["results"] = dg.MetadataValue.table(rows)
        errors = sorted({v.error for v in failed if v.error})
        if errors:
            metadata["error"] = dg.MetadataValue.text("\n".join(errors))
        results.append(
            dg.AssetCheckResult(
                asset_key=key,
                check_name=spec.name,
                passed=not failed,
                severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
                metadata=metadata,
            )
        )
    return results


def read_back_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    """A sample of what was pushed is read back and compared with Delta."""
    return dg.AssetCheckSpec(
        READ_BACK, asset=key, blocking=True, description="a sample read back from the online store equals Delta"
    )


def read_back_result(key: dg.AssetKey, found: ReadBack) -> dg.AssetCheckResult:
    """Fails on any mismatch or missing entity, and on a sample of zero: "success, zero rows" is no success."""
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=READ_BACK,
        passed=found.sampled > 0 and not found.mismatches and not found.missing,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "sampled": dg.MetadataValue.int(found.sampled),
            "mismatches": dg.MetadataValue.int(found.mismatches),
            "missing": dg.MetadataValue.int(found.missing),
        },
    )
