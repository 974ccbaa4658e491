"""First, last, distinct, frequent, percentiles: over a list of records, by looking at all of them.

It imports nothing of the product. `OVERFLOW` stands for an answer that is null because a bound was passed. A percentile
is the exact one, which the product's may miss by its accuracy; the registers of HyperLogLog are a dict.
"""

import math
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from feature_assets_tests.oracle.keys import key_bytes

OVERFLOW = "overflow"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Record:
    """`value`: None for a null."""

    event_at: int
    sequence: int
    value: object


def value_bytes(value: object) -> bytes:
    """msgpack, as documented."""
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", math.nan if math.isnan(value) else value + 0.0)
    if isinstance(value, datetime):
        microseconds = (value - _EPOCH) // timedelta(microseconds=1)
        seconds, nanoseconds = microseconds // 10**6, microseconds % 10**6 * 1000
        if nanoseconds == 0 and 0 <= seconds < 2**32:
            return b"\xd6\xff" + struct.pack(">I", seconds)
        if 0 <= seconds < 2**34:
            return b"\xd7\xff" + struct.pack(">Q", nanoseconds * 2**34 + seconds)
        return b"\xc7\x0c\xff" + struct.pack(">Iq", nanoseconds, seconds)
    # An array of one element is one byte and the element.
    return key_bytes([value])[1:]


def ordered(records: Iterable[Record]) -> list[Record]:
    """Those that have a value, the oldest first."""
    having = [one for one in records if one.value is not None]
    return sorted(having, key=lambda one: (one.event_at, one.sequence, value_bytes(one.value)))


def first(records: Iterable[Record]) -> object:
    return next((one.value for one in ordered(records)), None)


def last(records: Iterable[Record]) -> object:
    return next((one.value for one in reversed(ordered(records))), None)


def last_k(records: Iterable[Record], k: int) -> list[object]:
    return [one.value for one in reversed(ordered(records))][:k]


def last_distinct_k(records: Iterable[Record], k: int) -> list[object]:
    found: list[object] = []
    for one in reversed(ordered(records)):
        if value_bytes(one.value) not in map(value_bytes, found):
            found.append(one.value)
    return found[:k]


def count_distinct(records: Iterable[Record], bound: int) -> object:
    different = len({value_bytes(one.value) for one in ordered(records)})
    return different if different <= bound else OVERFLOW


def top_k(records: Iterable[Record], k: int, bound: int) -> object:
    having = ordered(records)
    counts = Counter(value_bytes(one.value) for one in having)
    if len(counts) > bound:
        return OVERFLOW
    values = {value_bytes(one.value): one.value for one in having}
    return [values[one] for one in sorted(counts, key=lambda one: (-counts[one], one))[:k]]


def numbers(records: Iterable[Record]) -> list[float]:
    """What a percentile is of, ascending."""
    found = [float(one.value) for one in records if isinstance(one.value, int | float)]
    return sorted(number for number in found if not math.isnan(number))


def percentile(records: Iterable[Record], share: float) -> float | None:
    ascending = numbers(records)
    return ascending[math.floor(share * (len(ascending) - 1))] if ascending else None


def registers(records: Iterable[Record], precision: int) -> dict[int, int]:
    """By register the greatest rank."""
    found: dict[int, int] = {}
    for one in ordered(records):
        bits = "".join(f"{byte:08b}" for byte in blake2b(value_bytes(one.value), digest_size=8).digest())
        register, rest = int(bits[:precision], 2), bits[precision:]
        rank = len(rest) - len(rest.lstrip("0")) + 1
        found[register] = max(rank, found.get(register, 0))
    return found


def estimate(found: dict[int, int], precision: int) -> float:
    """Ertl's improved estimator: equation by equation."""
    size, last_rank = 2**precision, 64 - precision + 1
    counts = Counter(found.values())
    counts[0] = size - len(found)
    if counts[0] == size:
        return 0.0
    total = size * _tau(1 - counts[last_rank] / size) * 0.5 ** (last_rank - 1)
    total += math.fsum(counts[rank] * 0.5**rank for rank in range(1, last_rank))
    total += size * _sigma(counts[0] / size)
    return float(size * size / (2 * math.log(2) * total))


def _sigma(share: float) -> float:
    return share + math.fsum(share ** (2**k) * 2 ** (k - 1) for k in range(1, 30))


def _tau(share: float) -> float:
    return (1 - share - math.fsum((1 - share ** (0.5**k)) ** 2 * 0.5**k for k in range(1, 60))) / 3


def state_of_registers(found: dict[int, int], precision: int) -> bytes:
    """The documented form."""
    size = 2**precision
    if 4 * len(found) < size:
        return b"".join((register * 64 + found[register]).to_bytes(3, "little") for register in sorted(found))
    bits = "".join(f"{found.get(register, 0):06b}" for register in range(size))
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
