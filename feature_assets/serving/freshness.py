"""How stale a view may be for one caller, and what becomes of what is staler.

Invariant: staleness is that of the view, against its watermark: an entity of which nothing new is known is not stale.
A caller may be stricter than the view's own objective, and never laxer.
It reads no watermark.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from feature_assets.clock import duration_us
from feature_assets.definition.view import FeatureView
from feature_assets.errors import InputError

OnStale = Literal["serve", "null", "error"]
"""`serve`: the value, marked `STALE`; `null`: no value, and none of what would be computed from it; `error`: raise."""
ON_STALE: tuple[OnStale, ...] = ("serve", "null", "error")


@dataclass(frozen=True, slots=True)
class Freshness:
    """`max_age`: how far back a view's complete state may lie at the instant asked for; None: its own objective alone.

    Also the longest time since a remembered item was read from the store. Raises `InputError` for what cannot be.
    """

    max_age: timedelta | None = None
    on_stale: OnStale = "serve"

    def __post_init__(self) -> None:
        if self.max_age is not None and self.max_age < timedelta(0):
            raise InputError(f"max_age: {self.max_age} is negative", hint="give a duration of nothing or more")
        if self.on_stale not in ON_STALE:
            raise InputError(f"on_stale: {self.on_stale!r} is none of {', '.join(ON_STALE)}", hint="choose one of them")

    @classmethod
    def of(cls, max_age: timedelta | None, on_stale: OnStale) -> "Freshness":
        """The same; what nearly every request is of is made once."""
        return SERVED if max_age is None and on_stale == "serve" else cls(max_age, on_stale)

    @property
    def seconds(self) -> float | None:
        """`max_age` in seconds."""
        return None if self.max_age is None else self.max_age.total_seconds()

    def is_stale(self, view: FeatureView, complete_through: int | None, as_of: int) -> bool:
        """Whether the view is not known to be as fresh as it promises, and as the caller needs. In microseconds."""
        limits = [duration_us(one) for one in (view.freshness, self.max_age) if one is not None]
        if not limits:
            return False
        return complete_through is None or as_of - complete_through > min(limits)


SERVED = Freshness()
"""As the views promise, and what is staler is served and marked."""
