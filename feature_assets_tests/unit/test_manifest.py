"""Manifests and rebuilding: the same bytes after everything that may happen to a lake, and nothing but those."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from feature_assets.clock import to_us
from feature_assets.definition.model import Label
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import view_version
from feature_assets.errors import InputError, ManifestError
from feature_assets.offline.ledger import LedgerRow
from feature_assets.offline.maintenance import compact, tables, vacuum
from feature_assets.training.digest import table_digest
from feature_assets.training.loader import TrainingSet
from feature_assets.training.manifest import Manifest, parse_manifest, sealed
from feature_assets.training.modes import what_if
from feature_assets.training.rebuild import rebuild
from feature_assets.training.stored import stored_manifest
from feature_assets_tests.histories import DAY, SOURCE, START, instants
from feature_assets_tests.trained import (
    FLIGHTS,
    HOUR,
    PROJECT,
    ROUTES,
    SERVICE,
    TARGET,
    WEATHER,
    Trained,
    fill,
    route_rows,
    spine_of,
    weather_rows,
)

SPINE = spine_of(FLIGHTS)
LABEL = Label("late", "landed_at", pa.bool_())


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return fill(str(tmp_path_factory.mktemp("lake")))


@pytest.fixture
def trained(untouched: Trained, tmp_path: Path) -> Trained:
    """A copy to be changed."""
    shutil.copytree(untouched.lake.root, tmp_path / "lake")
    return replace(untouched, lake=type(untouched.lake)(str(tmp_path / "lake")))


def again(trained: Trained, made: TrainingSet, spine: pa.Table | None = SPINE) -> TrainingSet:
    return rebuild(made.manifest.encoded(), project=PROJECT, spine=spine, **trained.stores)


def ipc_bytes(table: pa.Table) -> bytes:
    """The table as one Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    data: bytes = sink.getvalue().to_pybytes()
    return data


MODES = ["as_served", "as_of_event", what_if(delay=timedelta(minutes=5), every=HOUR)]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_the_same_bytes_after_whatever_came_later(trained: Trained, mode: object) -> None:
    made = trained.training_set(SPINE, mode=mode, ttl={"weather": None})
    # Corrections of what was used, a failed one, more days, their pushes, and a push that acknowledges the old again.
    seq = trained.commit(WEATHER, {number: weather_rows(number, shift=7.0) for number in range(8)})
    trained.push(WEATHER, seq, START + 5 * DAY)
    trained.commit(WEATHER, {9: weather_rows(9, shift=9.0)}, passed=False)
    seq = trained.commit(ROUTES, {number: route_rows(number + 1) for number in range(4, 12)})
    trained.push(ROUTES, seq, START + 4 * DAY)
    for view in (WEATHER, ROUTES):
        version = view_version(view)
        at = to_us(START)
        trained.ledger.append(
            [LedgerRow(kind="retired", view=view.name, version=version, target=TARGET, sent_at=at, acked_at=at)]
        )
    assert not trained.training_set(SPINE, mode=mode, ttl={"weather": None}).table.equals(made.table)
    rebuilt = again(trained, made)
    assert rebuilt.table.equals(made.table)
    assert ipc_bytes(rebuilt.table) == ipc_bytes(made.table)
    assert rebuilt.manifest == made.manifest


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_the_same_bytes_after_compaction_and_vacuum(trained: Trained, mode: object) -> None:
    made = trained.training_set(SPINE, mode=mode, name="kept")
    made.to_delta()
    files = sorted(Path(trained.lake.root).rglob("features/**/*.parquet"))
    # Twice, with a push between: what is folded into the rows is what is known at the time, and must not matter.
    for number in (10, 11):
        assert compact(trained.lake, PROJECT, ledger=trained.ledger, target=TARGET)
        seq = trained.commit(WEATHER, {number: weather_rows(number), 4: weather_rows(4, shift=float(number))})
        trained.push(WEATHER, seq, START + 7 * DAY)
    compact(trained.lake, PROJECT, ledger=trained.ledger, target=TARGET)
    for path in tables(trained.lake):
        vacuum(trained.lake, *path, retention=timedelta(0))
    assert not any(file.exists() for file in files)
    for spine in (SPINE, None):
        rebuilt = again(trained, made, spine)
        assert ipc_bytes(rebuilt.table) == ipc_bytes(made.table)


def test_the_same_bytes_with_less_memory(untouched: Trained) -> None:
    made = untouched.training_set(SPINE)
    limit = 64 * 1024**2 + 15_000
    parts = rebuild(made.manifest, project=PROJECT, spine=SPINE, memory_limit=limit, **untouched.stores)
    assert ipc_bytes(parts.table) == ipc_bytes(made.table)


def test_what_was_true_of_the_definitions_then_still_counts(untouched: Trained) -> None:
    """A changed delay is no new version of a view: the manifest pins the one that was used."""
    made = untouched.training_set(SPINE)
    other = {view.name: view for view in (WEATHER, ROUTES)}
    changed = [
        type(view)(
            view.name,
            view.entity,
            view.sources,
            view.transform,
            view.features,
            ttl=view.ttl,
            delay=timedelta(days=9),
            buckets=view.buckets,
        )
        for view in other.values()
    ]
    weather, routes = changed
    service = FeatureService(
        SERVICE.name,
        [
            weather.alias("here", airport="origin")["temp", "gusts", "recent"],
            *SERVICE.on_demand,
            weather.alias("there", airport="dest")["temp", "sky"],
            routes,
        ],
    )
    project = Project("test", [SOURCE], changed, [service])
    assert rebuild(made.manifest, project=project, spine=SPINE, **untouched.stores).table.equals(made.table)


def test_it_can_be_kept_and_rebuilt_from_what_was_kept(trained: Trained) -> None:
    made = trained.training_set(SPINE, name="flights", label=LABEL)
    where = made.to_delta()
    assert made.to_delta() == where
    assert DeltaTable(where).version() == 0
    assert sorted(DeltaTable(where).to_pyarrow_table().column_names) == sorted(["_row", *made.table.column_names])
    manifest = stored_manifest(trained.lake, "flights", made.manifest.id)
    assert manifest == made.manifest
    rebuilt = again(trained, made, spine=None)
    assert ipc_bytes(rebuilt.table) == ipc_bytes(made.table)


def test_a_write_that_was_killed_is_made_good(trained: Trained) -> None:
    made = trained.training_set(SPINE, name="flights")
    where = Path(made.to_delta())
    (where / "manifest.json").unlink()
    with pytest.raises(ManifestError, match="there is no training set"):
        stored_manifest(trained.lake, "flights", made.manifest.id)
    with pytest.raises(ManifestError, match="was not kept"):
        again(trained, made, spine=None)
    made.to_delta()
    assert again(trained, made, spine=None).table.equals(made.table)
    assert DeltaTable(str(where)).to_pyarrow_table().num_rows == len(FLIGHTS)


def test_columns_of_types_that_delta_lacks(trained: Trained) -> None:
    extra = {
        "u8": pa.array([255] * 7, pa.uint8()),
        "u64": pa.array([2**64 - 1, None, *[0] * 5], pa.uint64()),
        "kind": pa.array(["a", None, "b", "a", "a", "b", "a"]).dictionary_encode(),
        "large": pa.array(["x"] * 7, pa.large_string()),
        "nano": pa.array([1_000] * 7).cast(pa.timestamp("ns", "Europe/Paris")),
        "local": pa.array([5] * 7).cast(pa.timestamp("us")),
        "took": pa.array([1, None, 3, 4, 5, 6, 7], pa.duration("s")),
        "clock": pa.array([1] * 7, pa.time64("us")),
        "half": pa.array(np.array([0.5] * 7, np.float16)),
        "never": pa.nulls(7),
        "nested": pa.array([{"a": [1, None]}, None, *[{"a": []}] * 5], pa.struct([("a", pa.list_(pa.int64()))])),
        "exact": pa.array([1, None, *[3] * 5], pa.int64()).cast(pa.decimal128(20, 0)),
    }
    spine = pa.table([*SPINE.columns, *extra.values()], names=[*SPINE.column_names, *extra])
    made = trained.training_set(spine, name="odd")
    made.to_delta()
    assert again(trained, made, spine=None).table.equals(made.table)


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("nano", pa.array([1] * 7).cast(pa.timestamp("ns", "UTC")), "'nano'.*without loss"),
        ("_row", pa.array([1] * 7), "'_row' is the stored table's own"),
    ],
)
def test_what_cannot_be_kept_is_refused(trained: Trained, name: str, column: pa.Array, message: str) -> None:
    made = trained.training_set(SPINE.append_column(name, column), name="odd")
    with pytest.raises(InputError, match=message):
        made.to_delta()
    with pytest.raises(InputError, match="has no name"):
        trained.training_set(SPINE).to_delta()


# ------------------------------------------------------------------------------------------------------ what is refused


def test_a_changed_manifest_is_refused(untouched: Trained) -> None:
    made = untouched.training_set(SPINE)
    for change in (
        {"ledger_position": 1},
        {"mode": what_if()},
        {"created_at": START},
        {"target": "elsewhere"},
        {"views": tuple(msgspec.structs.replace(pin, commit_seq=pin.commit_seq - 1) for pin in made.manifest.views)},
    ):
        forged = msgspec.structs.replace(made.manifest, **change)
        with pytest.raises(ManifestError, match="was changed after it was made"):
            parse_manifest(forged.encoded())
        with pytest.raises(ManifestError, match="was changed after it was made"):
            rebuild(forged, project=PROJECT, spine=SPINE, **untouched.stores)


def test_every_byte_of_a_manifest_counts(untouched: Trained) -> None:
    data = untouched.training_set(SPINE).manifest.encoded()
    assert parse_manifest(data).encoded() == data
    random = np.random.default_rng(3)
    for place in random.integers(0, len(data) - 1, 150).tolist():
        damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        try:
            found = parse_manifest(damaged)
        except ManifestError:
            continue
        # White space, or a letter's case in a number's exponent: it says the same.
        assert found.encoded() == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read"),
        (b"{}", "cannot be read"),
        (b"not json", "cannot be read"),
        (b'{"format": 99}', "format 99, and this version reads up to 1.*(?s:.*)upgrade"),
        (b'{"format": 1}', "cannot be read"),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_manifest(data)


def test_a_resealed_forgery_does_not_give_what_it_says(untouched: Trained) -> None:
    """Whoever can write a manifest can write another, but not one whose content the store does not have."""
    made = untouched.training_set(SPINE)
    forged = sealed(msgspec.structs.replace(made.manifest, mode=what_if()))
    with pytest.raises(ManifestError, match=r"came out with other values(?s:.*)changed by hand"):
        rebuild(forged, project=PROJECT, spine=SPINE, **untouched.stores)
    older = dict(made.manifest.libraries, pyarrow="1.0.0")
    aged = sealed(msgspec.structs.replace(made.manifest, mode=what_if(), libraries=older))
    with pytest.raises(ManifestError, match=r"libraries have changed since: pyarrow 1\.0\.0 ->"):
        rebuild(aged, project=PROJECT, spine=SPINE, **untouched.stores)


def test_another_spine_is_refused(untouched: Trained) -> None:
    made = untouched.training_set(SPINE)
    for spine in (SPINE.slice(1), SPINE.take(pa.array([1, 0, *range(2, 7)])), SPINE.drop_columns(["late"])):
        with pytest.raises(ManifestError, match="the spine is not the one"):
            again(untouched, made, spine)
    with pytest.raises(ManifestError, match="was not kept"):
        again(untouched, made, spine=None)


def test_rows_dropped_for_their_label_are_dropped_again(untouched: Trained) -> None:
    landed = SPINE.column("landed_at").to_pylist()
    landed[2] = untouched.clock.now() + HOUR
    spine = SPINE.set_column(SPINE.schema.get_field_index("landed_at"), "landed_at", instants(landed))
    made = untouched.training_set(spine, label=LABEL, immature="drop")
    assert made.manifest.spine.rows == len(FLIGHTS) - 1
    later = replace(untouched, clock=type(untouched.clock)(untouched.clock.now() + 2 * HOUR))
    assert again(later, made, spine).table.equals(made.table)


def test_other_code_is_refused(untouched: Trained) -> None:
    made = untouched.training_set(SPINE)
    more = FeatureService(SERVICE.name, [*SERVICE.features, WEATHER["sky"]])
    project = Project("test", [SOURCE], [WEATHER, ROUTES], [more])
    with pytest.raises(ManifestError, match="service 'late_flights' has changed"):
        rebuild(made.manifest, project=project, spine=SPINE, **untouched.stores)
    renamed = msgspec.structs.replace(made.manifest.views[0], version="0000000000")
    forged = sealed(msgspec.structs.replace(made.manifest, views=(renamed, *made.manifest.views[1:])))
    with pytest.raises(ManifestError, match=r"is version .* in the code(?s:.*)check out the code"):
        rebuild(forged, project=PROJECT, spine=SPINE, **untouched.stores)


def test_the_id_is_the_content(untouched: Trained) -> None:
    one, other = untouched.training_set(SPINE), untouched.training_set(SPINE)
    assert one.manifest == other.manifest
    assert untouched.training_set(SPINE, name="x").manifest.id != one.manifest.id
    assert one.manifest.versions == {view.name: view_version(view) for view in (WEATHER, ROUTES)}
    assert one.manifest.commit_seq == {"weather": 9, "routes": 8}
    assert isinstance(one.manifest, Manifest)
    assert one.manifest.result.digest == table_digest(one.table)
