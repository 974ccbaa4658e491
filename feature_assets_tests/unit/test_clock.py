"""The clocks: every instant is aware, UTC and exact to the microsecond, and one kept in a file is never half set."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.clock import (
    OPEN,
    ManualClock,
    ReplayClock,
    SystemClock,
    duration_text,
    duration_us,
    from_us,
    parse_duration,
    to_us,
    utc,
)
from feature_assets.errors import SettingsError

NOON = datetime(2026, 1, 4, 12, tzinfo=UTC)
MIDNIGHT = datetime(2013, 6, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
INSTANTS = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1))  # noqa: DTZ001 - hypothesis adds the zone
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def test_the_system_clock_tells_an_aware_instant_in_utc_whatever_the_zone_of_the_machine() -> None:
    before = datetime.now(tz=UTC)
    told = SystemClock().now()
    assert before <= told <= datetime.now(tz=UTC)
    assert told.tzinfo is UTC


def test_a_manual_clock_stands_still_until_it_is_moved_and_never_goes_back() -> None:
    clock = ManualClock(NOON)
    assert clock.now() == clock.now() == NOON
    clock.advance(timedelta(0))
    clock.advance(MICROSECOND)
    assert clock.now() == NOON + MICROSECOND
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-MICROSECOND)
    assert clock.now() == NOON + MICROSECOND


# ---- the clock in a file
def test_a_replay_clock_runs_at_the_speed_of_real_time_from_where_it_was_set(tmp_path: Path) -> None:
    real = ManualClock(NOON)
    clock = ReplayClock(tmp_path / "made" / "replay_clock.json", real)
    clock.set(MIDNIGHT)
    assert clock.now() == MIDNIGHT
    real.advance(timedelta(hours=3, microseconds=7))
    assert clock.now() == MIDNIGHT + timedelta(hours=3, microseconds=7)
    clock.set(MIDNIGHT - timedelta(days=1))
    assert clock.now() == MIDNIGHT - timedelta(days=1), "a replay may start again"
    assert clock.now().tzinfo is UTC


def test_another_process_tells_the_same_simulated_time(tmp_path: Path) -> None:
    path, real = tmp_path / "replay_clock.json", ManualClock(NOON)
    ReplayClock(path, real).set(MIDNIGHT.astimezone(timezone(timedelta(hours=-5))))
    assert ReplayClock(path, real).now() == MIDNIGHT
    elapsed = ReplayClock(path).now() - MIDNIGHT
    assert elapsed > timedelta(days=1), "the machine's clock is far from the one that it was set by"


def test_a_replay_clock_is_not_set_to_an_instant_without_a_zone(tmp_path: Path) -> None:
    clock = ReplayClock(tmp_path / "replay_clock.json", ManualClock(NOON))
    clock.set(MIDNIGHT)
    with pytest.raises(ValueError, match=r"replay clock: 2013-06-01T00:00:00 has no time zone; write it as UTC"):
        clock.set(MIDNIGHT.replace(tzinfo=None))
    assert clock.now() == MIDNIGHT


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        '{"simulated": "2013-06-01T00:00:00Z"',
        '{"simulated": "2013-06-01T00:00:00Z"}',
        '{"simulated": "yesterday", "real": "2026-01-04T12:00:00Z"}',
        json.dumps({"simulated": "2013-06-01T00:00:00", "real": "2026-01-04T12:00:00Z"}),
        json.dumps({"simulated": "2013-06-01T00:00:00Z", "real": "2026-01-04T12:00:00"}),
    ],
    ids=["absent", "empty", "torn", "incomplete", "no instant", "naive", "set at a naive instant"],
)
def test_a_file_that_is_no_clock_is_one_clear_error(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "replay_clock.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        ReplayClock(path).now()
    assert str(path) in str(caught.value)
    assert "Hint: run the demo again, or unset FEATURE_ASSETS_CLOCK" in str(caught.value)


@contextmanager
def _set_over_and_over(path: Path, instants: tuple[datetime, ...]) -> Iterator[None]:
    """A thread per instant that sets the clock to it until the block is left."""
    done = Event()
    failures: list[BaseException] = []

    def keep_setting(at: datetime) -> None:
        try:
            while not done.is_set():
                ReplayClock(path, ManualClock(NOON)).set(at)
        except OSError as error:
            failures.append(error)

    threads = [Thread(target=keep_setting, args=(at,)) for at in instants]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failures


def test_a_reader_sees_what_was_set_by_one_or_by_the_other_and_nothing_else(tmp_path: Path) -> None:
    path, real = tmp_path / "replay_clock.json", ManualClock(NOON)
    ReplayClock(path, real).set(MIDNIGHT)
    with _set_over_and_over(path, (MIDNIGHT, NOON)):
        seen = {ReplayClock(path, real).now() for _ in range(2_000)}
    assert seen <= {MIDNIGHT, NOON}
    assert [left.name for left in tmp_path.iterdir()] == ["replay_clock.json"]


# ---- instants as numbers
@given(INSTANTS, OFFSETS)
def test_an_instant_is_microseconds_exactly_and_back(at: datetime, zone: timezone) -> None:
    aware = at.replace(tzinfo=zone)
    again = from_us(to_us(aware))
    assert again == aware
    assert again.utcoffset() == timedelta(0)
    assert to_us(aware + MICROSECOND) == to_us(aware) + 1
    assert to_us(aware) < OPEN


@given(st.integers(-(10**15), 10**15))
def test_microseconds_are_an_instant_exactly_and_back(us: int) -> None:
    assert to_us(from_us(us)) == us


@given(st.timedeltas(timedelta(days=-1_000), timedelta(days=1_000)))
def test_a_duration_is_whole_microseconds(duration: timedelta) -> None:
    assert duration_us(duration) * MICROSECOND == duration


def test_an_instant_without_a_zone_is_refused_with_where_it_stood() -> None:
    naive = NOON.replace(tzinfo=None)
    with pytest.raises(ValueError, match=r"the label: 2026-01-04T12:00:00 has no time zone"):
        utc(naive, "the label")
    with pytest.raises(ValueError, match="has no time zone"):
        to_us(naive)


def test_open_is_after_every_instant_and_fits_the_kernels_integers() -> None:
    assert to_us(datetime.max.replace(tzinfo=UTC)) < OPEN == 2**63 - 1


@given(st.timedeltas(timedelta(0)))
def test_a_duration_written_and_read_is_the_same(duration: timedelta) -> None:
    assert parse_duration(duration_text(duration)) == duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0s", timedelta(0)),
        ("5m", timedelta(minutes=5)),
        ("1d6h30m", timedelta(days=1, hours=6, minutes=30)),
        ("250ms", timedelta(milliseconds=250)),
    ],
)
def test_durations_as_they_are_typed(text: str, duration: timedelta) -> None:
    assert (parse_duration(text), duration_text(duration)) == (duration, text)


@pytest.mark.parametrize("text", ["", "5", "h", "1x", "-1h", "1h ", "1.5h", "9" * 30 + "d", "1h\n"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no duration|longer than any"):
        parse_duration(text)
