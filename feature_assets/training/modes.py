"""What "available" means to a training set: as it was served, as things happened, or on a schedule that does not exist.

And what takes no availability: `as_logged`, the values that were answered, from the served log.

Invariant: a mode is a value; it is part of the manifest and says, with the pins, all that visibility depends on.
It resolves no ledger: `as_served` takes its instants from there, the other modes compute theirs from a row's own times.
"""

from datetime import timedelta
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from feature_assets.clock import duration_text, duration_us
from feature_assets.errors import InputError, did_you_mean

Ints = npt.NDArray[np.int64]


class AsServed(msgspec.Struct, frozen=True, tag="as_served"):
    """Visibility by the ledger: what readers of the target store saw. The default."""


class AsOfEvent(msgspec.Struct, frozen=True, tag="as_of_event"):
    """Available when it happened: what tools that ignore availability do, for comparison. It leaks."""


class WhatIf(msgspec.Struct, frozen=True, tag="what_if"):
    """Available `delay` after the next run of a job that runs `every` so often and takes what has arrived by then.

    Runs are counted from midnight UTC, 1 January 1970. `every` zero is a stream: each row by itself.
    """

    delay: timedelta = timedelta(0)
    every: timedelta = timedelta(0)


class AsLogged(msgspec.Struct, frozen=True, tag="as_logged"):
    """The values that were answered, from the served log, by the request.

    `request_id`: the spine's column of request ids; `request_row`: that of the row in its request, 0 if the spine has
    none. `missing`: rows that are not in the log are refused, left null, or joined as served.
    """

    request_id: str = "request_id"
    request_row: str = "request_row"
    missing: Literal["refuse", "null", "as_served"] = "refuse"


Mode = AsServed | AsOfEvent | WhatIf
"""What features are joined by: when a row was available."""
AnyMode = Mode | AsLogged

NAMES: Final = ("as_served", "as_of_event", "as_logged")
MISSING: Final = ("refuse", "null", "as_served")


def what_if(*, delay: timedelta = timedelta(0), every: timedelta = timedelta(0)) -> WhatIf:
    """A schedule that does not exist yet: what would training see if the view were pushed like this?"""
    if delay < timedelta(0) or every < timedelta(0):
        raise InputError(f"what_if: delay and every are not negative, got delay={delay} and every={every}")
    return WhatIf(delay=delay, every=every)


def as_logged(*, request_id: str = "request_id", request_row: str = "request_row", missing: str = "refuse") -> AsLogged:
    """What was answered, by request id. Raises `InputError` for another `missing` than refuse, null or as_served."""
    for known in ("refuse", "null", "as_served"):
        if missing == known:
            return AsLogged(request_id=request_id, request_row=request_row, missing=known)
    raise InputError(f"as_logged: missing={missing!r}", hint=did_you_mean(missing, MISSING))


def joined_mode(mode: str | AnyMode, where: str) -> Mode:
    """A mode in which features are joined. Raises `InputError` for `as_logged`, which joins none; `where` says what."""
    found = parse_mode(mode)
    if isinstance(found, AsLogged):
        raise InputError(
            f"{where}: as_logged takes values by request id, and joins none",
            hint="use as_served: what readers of the store saw at an instant",
        )
    return found


def parse_mode(mode: str | AnyMode) -> AnyMode:
    """A mode by its name, or itself. Raises `InputError` for a name that is none."""
    if not isinstance(mode, str):
        return mode
    if mode == "as_logged":
        return AsLogged()
    if mode == "as_served":
        return AsServed()
    if mode == "as_of_event":
        return AsOfEvent()
    if mode.startswith("what_if"):
        raise InputError(
            f"mode {mode!r} needs its schedule",
            hint="mode=what_if(delay=timedelta(minutes=5), every=timedelta(hours=1))",
        )
    raise InputError(f"unknown mode {mode!r}", hint=did_you_mean(mode, [*NAMES, "what_if(delay=, every=)"]))


def mode_text(mode: AnyMode) -> str:
    """A mode in one word, or as it is called: `as_served`, `what_if(every=1h, delay=5m)`."""
    if isinstance(mode, AsLogged):
        return "as_logged"
    if isinstance(mode, WhatIf):
        return f"what_if(every={duration_text(mode.every)}, delay={duration_text(mode.delay)})"
    return "as_served" if isinstance(mode, AsServed) else "as_of_event"


def modelled_availability(mode: AsOfEvent | WhatIf, event_at: Ints, arrived_at: Ints | None) -> Ints:
    """When each row would have been available, in microseconds, by a mode that does not ask the ledger.

    `arrived_at` None: nothing arrived after it happened; only `WhatIf` looks at it.
    """
    if isinstance(mode, AsOfEvent):
        return event_at
    known = event_at if arrived_at is None else np.maximum(event_at, arrived_at)
    every = duration_us(mode.every)
    if every:
        known = -(-known // every) * every
    return known + duration_us(mode.delay)
