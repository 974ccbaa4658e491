"""The served log on an object store: several logs at once, a service that changes, and back through `as_logged`."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from feature_assets.clock import ManualClock
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.offline.delta_ledger import DeltaLedger
from feature_assets.offline.lake import Lake
from feature_assets.offline.ledger import MemoryLedger
from feature_assets.offline.maintenance import compact
from feature_assets.offline.verdicts import Verdicts
from feature_assets.serving.served_log import ServedLog
from feature_assets.training.loader import training_set
from feature_assets_tests.answers import AS_OF, answer_of
from feature_assets_tests.histories import SOURCE, view_of
from feature_assets_tests.servers.s3 import S3Server

pytestmark = pytest.mark.server
BEFORE = FeatureService("it", [view_of("w", {"k": pa.string()}, {"x": pa.int32()})])
AFTER = FeatureService("it", [view_of("w", {"k": pa.string()}, {"x": pa.float64(), "y": pa.string()})])


def project(service: FeatureService) -> Project:
    return Project("test", sources=[SOURCE], views=service.views, services=[service])


def test_logs_on_an_object_store(s3_server: S3Server) -> None:
    lake = Lake(s3_server.url(), s3_server.storage_options)

    def serve(number: int) -> None:
        service = AFTER if number else BEFORE
        values = {"w__x": [0.5, None], "w__y": ["a", "b"]} if number else {"w__x": [7, None]}
        with ServedLog(lake, project(service), ManualClock(AS_OF), target="memory") as log:
            for turn in range(2):
                log.record(answer_of(service, {"k": ["a", "b"]}, values), f"{number} {turn}")
                assert log.flush(), log.stats
        assert log.stats.logged == 4

    # The first alone: who makes the table is not what is looked at here.
    serve(0)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(serve, (1, 2)))
    compact(lake, project(AFTER), ledger=MemoryLedger(), target="memory")
    spine = pa.table({"request_id": ["2 1", "1 0"], "request_row": [1, 0]})
    made = training_set(
        project(AFTER),
        spine,
        service="it",
        timestamp="as_of",
        mode="as_logged",
        lake=lake,
        ledger=DeltaLedger(lake),
        verdicts=Verdicts(lake),
        target="memory",
        clock=ManualClock(AS_OF),
    ).table
    assert (made["w__x"].to_pylist(), made["w__y"].to_pylist()) == ([None, 0.5], ["b", "a"])
