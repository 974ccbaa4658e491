"""Answers of a shop through the log to a training set, by the command line; and that they are what a join says."""

from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_assets.clock import ReplayClock
from feature_assets.store import FeatureStore
from feature_assets_tests.end_to_end import shop
from feature_assets_tests.end_to_end.conftest import Cli

USERS = ("ada", "bob", "nobody")


@pytest.fixture
def spine(shop_store: FeatureStore, shop_clock: ReplayClock, tmp_path: Path) -> Path:
    """Three mornings, each with a correction of the day before the last; the rows of all answers, newest first."""
    ids: list[str] = []
    rows: list[int] = []
    users: list[str] = []
    at: list[datetime] = []
    reader = shop_store.reader()
    with shop_store.served_log() as log:
        for number in (1, 2, 3):
            shop.put_orders(date(2026, 1, number), [("ada", 10.0 * number), ("bob", 1.0)])
            if number > 1:
                shop.put_orders(date(2026, 1, number - 1), [("ada", 10.5 * number)])
            shop_store.materialize([date(2026, 1, day) for day in range(1, number + 1)])
            shop_store.publish()
            shop_clock.set(shop_clock.now().replace(hour=2 + 2 * number))
            answer = reader.get("checkout", [{"user_id": name} for name in USERS])
            log.record(answer, f"morning {number}")
            shop_clock.set(shop_clock.now().replace(hour=3 + 2 * number))
            ids += [f"morning {number}"] * 3
            rows += range(3)
            users += USERS
            at += [answer.as_of] * 3
    assert (log.stats.logged, log.stats.last_error) == (9, "")
    table = pa.table({"rid": ids, "request_row": rows, "user_id": users, "as_of": pa.array(at, shop.TIME)})
    path = tmp_path / "spine.parquet"
    pq.write_table(table.take(pa.array(range(8, -1, -1))), path)
    return path


def test_what_was_answered_is_what_a_join_says(cli: Cli, spine: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    arguments = ("training-set", "--service", "checkout", "--spine", spine, "--timestamp", "as_of", "-o", out)
    said = cli(*arguments, "--mode", "as_logged", "--request-id", "rid", "--json")
    assert said.code == 0, said
    logged = pq.read_table(out)
    assert said.document["rows"] == logged.num_rows == 9
    assert cli(*arguments).code == 0
    served = pq.read_table(out)
    names = [column.name for column in shop.checkout.output_columns]
    assert logged.select(names).equals(served.select(names))
    assert len(set(logged["daily_spend__spend"].to_pylist())) > 3
    assert logged["daily_spend__event_at"].equals(served["daily_spend__event_at"])
    assert set(logged["availability"].to_pylist()) == {"logged"}
    assert logged["daily_spend__orders__status"].to_pylist()[0] == "DEFAULTED"


def test_what_is_not_in_the_log_is_said_by_the_command_line(cli: Cli, spine: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    table = pq.read_table(spine)
    unknown = table.set_column(0, "request_id", pa.array(["lost", *table["rid"].to_pylist()[1:]]))
    pq.write_table(unknown, spine)
    arguments = ("training-set", "--service", "checkout", "--spine", spine, "--timestamp", "as_of", "-o", out)
    refused = cli(*arguments, "--mode", "as_logged")
    assert refused.code == 2
    assert "1 are not in it" in refused.stderr
    assert "row 0 ('lost', 2)" in refused.stderr
    assert not out.exists()
    assert cli(*arguments, "--mode", "as_logged", "--missing", "null").code == 0
    assert pq.read_table(out)["availability"].to_pylist() == [None, *["logged"] * 8]
    assert cli(*arguments, "--mode", "as_logged", "--missing", "as_served").code == 0
    assert pq.read_table(out)["daily_spend__availability"].to_pylist()[1:] == ["logged"] * 8
    assert pq.read_table(out)["daily_spend__orders"].to_pylist()[0] == 0
    wrong = cli(*arguments, "--mode", "as_logged", "--missing", "nul")
    assert (wrong.code, "did you mean 'null'?" in wrong.stderr) == (2, True)
    report = cli(*arguments, "--mode", "as_logged", "--missing", "null", "--report", tmp_path / "page.html")
    assert (report.code, "as_logged takes values by request id" in report.stderr) == (2, True)


def test_a_shop_that_logs_nothing_says_so(cli: Cli, shop_store: FeatureStore, tmp_path: Path) -> None:
    given = tmp_path / "spine.parquet"
    pq.write_table(pa.table({"request_id": ["one"]}), given)
    arguments = ("training-set", "--service", "checkout", "--spine", given, "--timestamp", "as_of")
    said = cli(*arguments, "-o", tmp_path / "out.parquet", "--mode", "as_logged")
    assert said.code == 2
    assert "none of its answers was ever logged" in said.stderr
    assert "mode='as_served'" in said.stderr
