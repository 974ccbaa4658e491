"""`rebuild`: a training set again, from its manifest, to the byte.

Invariant: what it returns has the content whose digest stands in the manifest, or it raises. Rows are read from the
offline store at the manifest's pins, so later commits, corrections, pushes, compactions and vacuums change nothing.
It rebuilds what the project's code can still compute: a service that has changed since is refused, not approximated.
`in_mode` reads the same pins in another mode, for comparison: what comes out has no digest to be checked against.
"""

import msgspec
import pyarrow as pa

from feature_assets.clock import to_us
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import service_version, view_version
from feature_assets.errors import ManifestError
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import Ledger
from feature_assets.offline.served_table import ServedTable
from feature_assets.offline.table import feature_table
from feature_assets.training.answer import added_columns
from feature_assets.training.digest import table_digest
from feature_assets.training.history import History, KnownVerdicts
from feature_assets.training.loader import Progress, Question, TrainingSet, built, joining
from feature_assets.training.logged import Fill, logged_columns, logged_upto, parse_requests, taken_from_log
from feature_assets.training.manifest import Manifest, library_versions, parse_manifest, verify_seal
from feature_assets.training.memory import DEFAULT_LIMIT
from feature_assets.training.modes import AsLogged, AsServed, Mode, joined_mode
from feature_assets.training.spine import Spine, mature, mature_rows, parse_spine
from feature_assets.training.stored import stored_spine


def rebuild(
    manifest: Manifest | bytes,
    *,
    project: Project,
    lake: Lake,
    ledger: Ledger,
    verdicts: KnownVerdicts,
    spine: object = None,
    memory_limit: int = DEFAULT_LIMIT,
    progress: Progress | None = None,
) -> TrainingSet:
    """The training set of a manifest (or of the bytes of its file), verified.

    `spine`: the rows as they were handed over; None reads them from where `to_delta` kept them. Raises `ManifestError`
    if the manifest or the spine was changed, if the service or a view is not the one it pins, or if what comes out is
    not what it says.
    """
    if isinstance(manifest, bytes):
        manifest = parse_manifest(manifest)
    verify_seal(manifest)
    service = project.service(manifest.service)
    require_same_code(manifest, service)
    history = History(lambda view, version: feature_table(lake, view, version), verdicts, ledger, manifest.target)
    given = stored_spine(lake, manifest) if spine is None else spine
    mode = manifest.mode
    question = Question(
        service, manifest.timestamp, AsServed() if isinstance(mode, AsLogged) else mode, memory_limit=memory_limit
    )
    if isinstance(mode, AsLogged):
        fill = joining(question, manifest.views, history, manifest.ledger_position, progress)
        table = _from_log(manifest, mode, service, given, lake, fill)
    else:
        asked = _spine(manifest, service, given)
        table = built(question, asked, manifest.views, history, manifest.ledger_position, progress)
    if table_digest(table) != manifest.result.digest:
        raise ManifestError(
            f"training set {manifest.id} came out with other values than it was made with",
            hint=_libraries_hint(manifest),
        )
    return TrainingSet(table, manifest, lake)


def _from_log(
    manifest: Manifest, mode: AsLogged, service: FeatureService, given: object, lake: Lake, fill: Fill
) -> pa.Table:
    """What was answered, by the log as far as it is pinned."""
    requests = parse_requests(given, mode, timestamp=manifest.timestamp, service=service)
    label = manifest.label
    if label is not None and label.immature == "drop":
        now = to_us(manifest.created_at)
        requests = requests.kept(mature_rows(requests.table, label.name, label.matured_at, now, "drop"))
    _require_same_spine(manifest, requests.table)
    upto = logged_upto(service, lake) if manifest.log is msgspec.UNSET else manifest.log.commit_seq
    return taken_from_log(service, requests, ServedTable(lake, service), mode, upto=upto, fill=fill).table


def in_mode(
    made: TrainingSet,
    mode: Mode,
    *,
    project: Project,
    lake: Lake,
    ledger: Ledger,
    verdicts: KnownVerdicts,
    memory_limit: int = DEFAULT_LIMIT,
    progress: Progress | None = None,
) -> pa.Table:
    """The rows of a training set joined again in `mode`, from the same pins, so that nothing else differs.

    Raises `ManifestError` if the service or a view is not the one that was pinned, `InputError` if the rows were taken
    from the served log.
    """
    joined_mode(made.manifest.mode, f"training set {made.manifest.id}, joined again in another mode")
    service = project.service(made.manifest.service)
    require_same_code(made.manifest, service)
    history = History(lambda view, version: feature_table(lake, view, version), verdicts, ledger, made.manifest.target)
    question = Question(service, made.manifest.timestamp, mode, memory_limit=memory_limit)
    asked = asked_again(made, service)
    return built(question, asked, made.manifest.views, history, made.manifest.ledger_position, progress)


def asked_again(made: TrainingSet, service: FeatureService) -> Spine:
    """The spine of a training set, taken from its table."""
    added = added_columns(service)
    spine = made.table.drop_columns(list(added))
    return parse_spine(spine, timestamp=made.manifest.timestamp, service=service, added=added)


def _spine(manifest: Manifest, service: FeatureService, given: object) -> Spine:
    asked = parse_spine(given, timestamp=manifest.timestamp, service=service, added=added_columns(service))
    label = manifest.label
    if label is not None and label.immature == "drop":
        asked = mature(asked, label.name, label.matured_at, to_us(manifest.created_at), "drop")
    _require_same_spine(manifest, asked.table)
    return asked


def _require_same_spine(manifest: Manifest, table: pa.Table) -> None:
    if table_digest(table) != manifest.spine.digest:
        raise ManifestError(
            f"the spine is not the one that training set {manifest.id} was made with: "
            f"{table.num_rows} rows here, {manifest.spine.rows} there, or other values or types",
            hint="hand over the same rows in the same order, or leave spine out if the training set was kept",
        )


def require_same_code(manifest: Manifest, service: FeatureService) -> None:
    """Raise `ManifestError` if the code has another version of the service, or of a view of it, than is pinned.

    What was only taken from the served log depends on no version: its columns must be those of the service now.
    """
    if isinstance(manifest.mode, AsLogged) and not manifest.views:
        spine = pa.ipc.read_schema(pa.py_buffer(manifest.spine.arrow_schema)).names
        if (*spine, *logged_columns(service, spine, manifest.timestamp)) != manifest.result.columns:
            raise _changed(manifest, service)
        return
    for view in service.views:
        pin = manifest.pin(view.name)
        if view_version(view) != pin.version:
            raise ManifestError(
                f"view {view.name!r} is version {view_version(view)} in the code, and the training set was made with "
                f"{pin.version}",
                hint="check out the code that the training set was made with",
            )
    if service_version(service) != manifest.service_version:
        raise _changed(manifest, service)


def _changed(manifest: Manifest, service: FeatureService) -> ManifestError:
    return ManifestError(
        f"service {service.name!r} has changed since the training set {manifest.id} was made",
        hint="check out the code that the training set was made with",
    )


def _libraries_hint(manifest: Manifest) -> str:
    now = library_versions()
    changed = [f"{name} {was} -> {now.get(name)}" for name, was in manifest.libraries.items() if now.get(name) != was]
    if changed:
        return f"libraries have changed since: {', '.join(changed)}; install the versions that the manifest names"
    return "the offline store was changed by hand: restore the feature tables, verdicts and ledger from a backup"
