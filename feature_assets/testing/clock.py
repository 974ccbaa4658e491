"""A clock for simulations: it stands still until it is ticked.

Invariant: it never goes back. It differs from `ManualClock` in keeping whole microseconds, so that ticking and
comparing cost no date arithmetic.
"""

from datetime import datetime

from feature_assets.clock import from_us


class SimulatedClock:
    """A `Clock` over a count of microseconds since the epoch."""

    def __init__(self, us: int) -> None:
        self.us = us

    def now(self) -> datetime:
        return from_us(self.us)

    def tick(self, us: int) -> None:
        """Move forward. Raises `ValueError` for a step back."""
        if us < 0:
            msg = f"a clock cannot go back, asked for {us} microseconds"
            raise ValueError(msg)
        self.us += us
