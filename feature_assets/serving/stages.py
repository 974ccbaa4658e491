"""Where the time of one request goes.

Invariant: the stages of a request add up to its time, as each begins where the one before ended.
It knows nothing of metrics.
"""

import time
from typing import Literal

Stage = Literal["plan", "read", "decode", "merge", "transform", "encode"]
"""`plan`: the request parsed, versions and keys known. `read`: the store, or what stands before it. `decode`: bytes to
states or rows. `merge`: tiles to windows. `transform`: output columns, on-demand views. `encode`: the body of a reply.
"""
STAGES: tuple[Stage, ...] = ("plan", "read", "decode", "merge", "transform", "encode")


class Stages:
    """A stopwatch for one request, in one thread. `seconds`: by stage, so far."""

    __slots__ = ("_at", "seconds")

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {}
        self._at = time.perf_counter()

    def ended(self, stage: Stage) -> None:
        """What has passed since the last call, or the beginning, was this stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._at
        self._at = now


def ended(stages: Stages | None, stage: Stage) -> None:
    """As `Stages.ended`, for whoever may be without a stopwatch."""
    if stages is not None:
        stages.ended(stage)
