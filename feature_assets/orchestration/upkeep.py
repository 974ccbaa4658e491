"""The nightly upkeep as a Dagster job: every table compacted, then vacuumed.

Invariant: it changes nothing that a reader sees, so it materializes no asset and is a job of its own. A table that
fails holds up no other, and fails the run at its end, by name.
"""

import dagster as dg

from feature_assets.definition.project import Project
from feature_assets.offline.upkeep import TableUpkeep, Upkeep
from feature_assets.orchestration.resources import Platform, reported

UPKEEP_JOB = "maintenance"
UPKEEP_CRON = "0 4 * * *"
"""After the night's materializations, before drift is looked at."""


def upkeep_job(project: Project) -> dg.JobDefinition:
    """The job `maintenance`."""

    @dg.op(name="compact_and_vacuum")
    def _upkeep(context: dg.OpExecutionContext, platform: Platform) -> None:
        with reported("maintenance"):
            store = platform.open(project)
            upkeep = Upkeep(project, store.ledger, store.target, run_id=context.run_id)
            done = upkeep.of(store.lake, progress=lambda what, at, of: context.log.debug("%s (%s/%s)", what, at, of))
        context.add_output_metadata(_metadata(done))
        failed = [one for one in done if one.error]
        if failed:
            errors = "; ".join(f"{one.table}: {one.error}" for one in failed)
            raise dg.Failure(f"{len(failed)} of {len(done)} tables could not be maintained: {errors}")

    @dg.job(name=UPKEEP_JOB, description="Compact every table of the lake, delete what was replaced long ago.")
    def _job() -> None:
        _upkeep()

    return _job


def _metadata(done: list[TableUpkeep]) -> dict[str, dg.MetadataValue]:
    return {
        "tables": dg.MetadataValue.int(len(done)),
        "compacted": dg.MetadataValue.int(sum(one.files_before > 0 for one in done)),
        "files_before": dg.MetadataValue.int(sum(one.files_before for one in done)),
        "files_after": dg.MetadataValue.int(sum(one.files_after for one in done)),
        "deleted": dg.MetadataValue.int(sum(len(one.deleted) for one in done)),
    }


def upkeep_schedule() -> dg.ScheduleDefinition:
    """The schedule `maintenance_nightly`."""
    return dg.ScheduleDefinition(
        name="maintenance_nightly", job_name=UPKEEP_JOB, cron_schedule=UPKEEP_CRON, execution_timezone="UTC"
    )
