"""Tags of a definition: text to text, for people and user interfaces; they decide nothing.

Invariant: a definition's tags cannot be changed through the mapping that was given.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from feature_assets.definition.place import refusal


def frozen_tags(kind: str, name: str, tags: Mapping[str, str]) -> Mapping[str, str]:
    """A read-only copy of `tags`. Refuses anything but text."""
    pairs: Iterable[tuple[object, object]] = tags.items()
    for key, value in pairs:
        if not isinstance(key, str) or not isinstance(value, str):
            raise refusal(
                kind, name, f"tags: {key!r}: {value!r} is not text to text", f"write {str(key)!r}: {str(value)!r}"
            )
    return MappingProxyType(dict(tags))
