"""The document of the HTTP interface against the server: what it allows is taken, what it does not is refused.

Cases are made by schemathesis from the document, good ones and bad: no answer is 5xx, all are as the document says,
and every bad request is refused. Deadlines so short that nobody could keep them are refused by this server.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from feature_assets.definition.on_demand import OnDemandView, RequestField
from feature_assets.definition.view import Feature
from feature_assets.serving.http.limits import Limits
from feature_assets_tests.histories import view_of
from feature_assets_tests.http_serving import Server, client_of, running_server, serving_of
from feature_assets_tests.published import Published, at

HERE = Path(__file__).parent
SNAPSHOT = HERE / "openapi.json"
TIME = pa.timestamp("us", "UTC")
KEYS = {"airport": pa.string(), "number": pa.int32(), "day": pa.date32(), "raw": pa.binary(), "flag": pa.bool_()}
VIEW = view_of(
    "odd",
    KEYS,
    {
        "a": pa.int64(),
        "b": pa.float64(),
        "c": pa.string(),
        "d": pa.list_(pa.float64()),
        "e": pa.decimal128(12, 2),
        "f": pa.bool_(),
        "g": pa.map_(pa.string(), pa.int64()),
        "h": pa.struct([("x", pa.int64())]),
        "i": TIME,
    },
)


def echoed(columns: Mapping[str, pa.Array], as_of: pa.Array) -> dict[str, pa.Array]:
    return {"speed": columns["speed"], "at": as_of}


PLAN = OnDemandView(
    "plan",
    request=[RequestField("at", TIME), RequestField("speed", pa.float64()), RequestField("many", pa.list_(pa.int64()))],
    function=echoed,
    features=[Feature("speed", pa.float64()), Feature("at", TIME)],
)
LIMITS = Limits(deadline=30.0, shortest_deadline=10.0, longest_deadline=60.0)


def world_of() -> Published:
    world = Published()
    keys = {"airport": "JFK", "number": 1, "day": date(2024, 3, 1), "raw": b"x", "flag": True}
    row = {**keys, "a": 2**60, "b": float("nan"), "c": "x", "d": [1.0, None], "f": True}
    world.publish(VIEW, [{"event_at": at(3), **row}])
    return world


def fuzzed(server: Server, folder: Path, examples: int, seed: int) -> tuple[int, str]:
    """How many cases were tried, and what it says; raises if one failed. `folder`: where it keeps what it keeps."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml")]
    options = ["--max-examples", str(examples), "--seed", str(seed), "--mode", "all", "--continue-on-failure"]
    options += ["--suppress-health-check", "all", "--no-color", "--phases", "coverage,fuzzing,stateful"]
    address = f"http://127.0.0.1:{server.port}/openapi.json"
    done = subprocess.run([*command, "run", address, *options], cwd=folder, capture_output=True, text=True, check=False)
    said = "\n".join(line[:300] for line in done.stdout.splitlines())
    assert done.returncode == 0, said
    found = re.search(r"^\s*(\d+) generated", done.stdout, re.MULTILINE)
    assert found is not None, said
    return int(found[1]), said


@pytest.mark.slow
def test_cases_made_from_the_document(long_drills: bool, tmp_path: Path) -> None:
    world, least = world_of(), 10_000 if long_drills else 1_000
    with running_server(serving_of(client_of(world, VIEW, PLAN), world.clock, limits=LIMITS)) as server:
        tried = 0
        for seed in range(1, 100):
            count, _ = fuzzed(server, tmp_path, 400 if long_drills else 60, seed)
            tried += count
            if tried >= least:
                break
    assert tried >= least


def test_the_document_changes_only_on_purpose() -> None:
    """If it was changed on purpose: write what is told below into the file, and say so in the changelog."""
    world = world_of()
    with running_server(serving_of(client_of(world, VIEW, PLAN), world.clock)) as server:
        document = server.ask("/openapi.json").json
    assert document == json.loads(SNAPSHOT.read_text(encoding="utf-8")), json.dumps(document, indent=1, sort_keys=True)
