"""Feast, as its users run it: installed into an environment of its own, `feast serve` over its own copy of the rows.

    with feast_serving(items=5_000, online={"type": "sqlite", "path": "online.db"}) as port: ...

Invariant: nothing of it is installed into this project's environment, and it sends nothing home.
"""

import http.client
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from feature_assets_tests.servers.process import running
from harness import ROOT
from harness.served import ROWS, row_columns, tails_of

RELEASE = "feast[aws]==0.67.0"
HOME = ROOT / ".cache" / "bench" / "feast"
PROJECT = Path(__file__).resolve().parents[1] / "rivals" / "feast_project.py"
QUIET = {"FEAST_USAGE": "False", "DO_NOT_TRACK": "1", "PYTHONWARNINGS": "ignore"}
PATH = "/get-online-features"


def feast_home() -> Path:
    """The environment with Feast in it, made if it is not there."""
    stamp = HOME / ".made"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != RELEASE:
        uv = str(ROOT / ".tooling" / "bin" / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", "3.11", str(HOME)], check=True)
        python = str(HOME / "bin" / "python")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, RELEASE], check=True)
        stamp.write_text(RELEASE, encoding="utf-8")
    return HOME


@contextmanager
def feast_serving(
    items: int, online: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """The port of a server of `rows_1` and `rows_3`, with the same values as this project's. `online`: its store."""
    home = feast_home()
    given = {**QUIET, **(environment or {})}
    with tempfile.TemporaryDirectory() as folder:
        store = {"type": "file"}
        settings = {
            "project": "bench",
            "registry": "registry.db",
            "provider": "local",
            "online_store": dict(online),
            "offline_store": store,
            "entity_key_serialization_version": 3,
        }
        # JSON is YAML.
        (Path(folder) / "feature_store.yaml").write_text(json.dumps(settings), encoding="utf-8")
        rows = [
            pa.table({"view": pa.array([view.name] * items), "tailnum": tails_of(items), **row_columns(items, seed)})
            for seed, view in enumerate(ROWS)
        ]
        pq.write_table(pa.concat_tables(rows), Path(folder) / "rows.parquet")
        subprocess.run(
            [str(home / "bin" / "python"), str(PROJECT), "rows.parquet"],
            cwd=folder,
            env={**os.environ, **given},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        feast = str(home / "bin" / "feast")

        def command(port: int) -> list[str]:
            # Not restarted in the middle, as it would be after its default of 1,000 requests.
            options = ["--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--max-requests", "0"]
            return [feast, "--chdir", folder, "serve", *options]

        with running("feast", command, _answers, environment=given) as port:
            yield port


def feast_body(names: pa.Array, count: int) -> bytes:
    """What asks Feast's server for some entities."""
    asked = {"feature_service": f"rows_{count}", "entities": {"tailnum": names.to_pylist()}, "full_feature_names": True}
    return json.dumps(asked).encode()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()
