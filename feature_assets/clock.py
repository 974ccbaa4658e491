"""Time, injected. The one place that reads the machine's clock.

Invariant: every instant that leaves this module is timezone-aware UTC with microsecond resolution.
It does not schedule anything and never sleeps.
"""

import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkstemp
from typing import Protocol

import msgspec

from feature_assets.errors import SettingsError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OPEN = 2**63 - 1
"""Microseconds since the epoch that stand for "no end yet" (and, as an `available_at`, for "never")."""


class Clock(Protocol):
    """Anything that tells the current instant."""

    def now(self) -> datetime:
        """The current instant, UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current instant, UTC."""
        return datetime.now(tz=UTC)


@dataclass(slots=True)
class ManualClock:
    """A clock that stands still until it is moved. For tests and simulations."""

    at: datetime

    def now(self) -> datetime:
        """The instant that was set last."""
        return self.at

    def advance(self, by: timedelta) -> None:
        """Move forward by `by`; moving back is refused, as an instant once told must not be told again later."""
        if by < timedelta(0):
            msg = f"a clock cannot go back, asked for {by}"
            raise ValueError(msg)
        self.at += by


class _ReplayState(msgspec.Struct, frozen=True):
    simulated: datetime
    real: datetime


@dataclass(slots=True)
class ReplayClock:
    """A simulated clock kept in a file, so that every process of a project tells the same simulated time.

    It reads `simulated + (real now - real at setting)`: it runs at the speed of real time from the instant it was set
    to.
    """

    path: Path
    _real: Clock = field(default_factory=SystemClock)

    def now(self) -> datetime:
        """The simulated instant, UTC. Raises `SettingsError` if the file is missing or unreadable."""
        try:
            state = msgspec.json.decode(self.path.read_bytes(), type=_ReplayState)
            simulated, real = utc(state.simulated, "simulated"), utc(state.real, "real")
        except (OSError, msgspec.DecodeError, ValueError) as error:
            msg = f"the replay clock's file {self.path} cannot be read: {error}"
            raise SettingsError(msg, hint="run the demo again, or unset FEATURE_ASSETS_CLOCK") from error
        return simulated + (self._real.now() - real)

    def set(self, at: datetime) -> None:
        """Set the simulated instant. Atomic: a reader sees the old file or the new one, also while several set it."""
        state = _ReplayState(simulated=utc(at, "replay clock"), real=self._real.now())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, fresh = mkstemp(dir=self.path.parent, prefix=f"{self.path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(state))
        Path(fresh).replace(self.path)


def utc(at: datetime, where: str) -> datetime:
    """`at` in UTC. Raises `ValueError`, naming `where`, if it has no time zone."""
    if at.tzinfo is None:
        msg = f"{where}: {at.isoformat()} has no time zone; write it as UTC, e.g. datetime(..., tzinfo=UTC)"
        raise ValueError(msg)
    return at.astimezone(UTC)


def to_us(at: datetime) -> int:
    """Microseconds since the epoch, exactly (no float in between)."""
    return (utc(at, "instant") - EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """The instant `us` microseconds after the epoch, UTC."""
    return EPOCH + timedelta(microseconds=us)


_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
    "us": timedelta(microseconds=1),
}
_DURATION = re.compile(r"(?:\d+(?:d|h|ms|m|s|us))+")


def duration_text(duration: timedelta) -> str:
    """A duration that is not negative in units that add up to it exactly: `1h`, `1d6h30m`, `0s`."""
    words = []
    for unit, length in _UNITS.items():
        count, duration = divmod(duration, length)
        words += [f"{count}{unit}"] if count else []
    return "".join(words) or "0s"


def parse_duration(text: str) -> timedelta:
    """What `duration_text` writes, read. Raises `ValueError` for anything else."""
    if not _DURATION.fullmatch(text):
        msg = f"{text!r} is no duration; write a number and a unit, e.g. 5m, 1h, 1d12h or 0s"
        raise ValueError(msg)
    words = re.findall(r"(\d+)([a-z]+)", text)
    try:
        return sum((int(count) * _UNITS[unit] for count, unit in words), timedelta(0))
    except OverflowError as error:
        msg = f"{text!r} is longer than any duration can be"
        raise ValueError(msg) from error


def duration_us(duration: timedelta) -> int:
    """A duration in whole microseconds."""
    return duration // timedelta(microseconds=1)
