"""Durations in definitions.

Invariant: no duration of a definition is negative.
"""

from datetime import timedelta

from feature_assets.definition.place import refusal


def require_duration(kind: str, name: str, field: str, value: object, *, positive: bool = False) -> None:
    """Refuse what is no duration, or a negative one (or zero, if it has to be positive)."""
    if not isinstance(value, timedelta):
        raise refusal(
            kind, name, f"{field}: {value!r} is no duration", "give a datetime.timedelta, e.g. timedelta(hours=1)"
        )
    if value < timedelta(0):
        raise refusal(kind, name, f"{field}: {value} is negative", f"write {field}={abs(value)!r}")
    if positive and not value:
        raise refusal(kind, name, f"{field}: it is zero", f"leave {field} out, or give a positive duration")
