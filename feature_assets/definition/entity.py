"""Entities: what features are about, and the key that identifies one.

Invariant: the keys of an entity have an order, and it is part of every encoded key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from feature_assets.definition.dtypes import require_key_dtype
from feature_assets.definition.naming import RESERVED, require_free, require_name, require_unique
from feature_assets.definition.place import Place, assign, current_place, refusal


@dataclass(frozen=True, slots=True)
class Key:
    """One column of an entity's key."""

    name: str
    dtype: pa.DataType


@dataclass(frozen=True, slots=True, init=False)
class Entity:
    """Something in the world that features describe: an airport, a route (two keys), a customer.

    `keys` gives each key column its type, in order: string, int8 to int64, bool, date32 or binary.
    """

    name: str
    keys: tuple[Key, ...]
    description: str
    place: Place = field(init=False, compare=False, repr=False)

    def __init__(self, name: str, keys: Mapping[str, pa.DataType] | Sequence[Key], description: str = "") -> None:
        found = tuple(Key(key, dtype) for key, dtype in keys.items()) if isinstance(keys, Mapping) else tuple(keys)
        assign(self, name=name, keys=found, description=description, place=current_place())
        require_name("Entity", name)
        if not found:
            raise refusal("Entity", name, "keys: there is none", "an entity has at least one key column")
        for key in found:
            require_name("Entity", key.name, f"{name}: key")
            require_key_dtype("Entity", name, key.name, key.dtype)
        require_unique("Entity", name, "keys", self.key_names)
        require_free("Entity", name, "keys", self.key_names, RESERVED)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The key columns, in order."""
        return tuple(key.name for key in self.keys)
