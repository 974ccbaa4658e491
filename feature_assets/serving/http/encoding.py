"""What an answer looks like: columns (or rows) of values, each with its status, and what they were computed from.

Invariant: JSON and MessagePack say the same, by one encoding: times are ISO 8601 text, durations seconds, decimals
text, a map is a list of pairs. What JSON lacks is text there: integers beyond 2**53, "NaN", "Infinity", "-Infinity",
binary as base64; MessagePack has these as they are.

The status of a column is one text if all rows have the same, else a list.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.compute.lazy_column import Column, LazyColumn
from feature_assets.serving.answer import EXACT_IN_JSON, Answer, Meta, plain
from feature_assets.serving.http.bodies import JSON
from feature_assets.serving.status import Codes, Status, statuses

_json = msgspec.json.Encoder()
_msgpack = msgspec.msgpack.Encoder()
_NAMES: Final = [status.value for status in Status]


def encoded(answer: Answer, columns: Sequence[str], *, media_type: str, detail: str, layout: str) -> bytes:
    """The body of an answer, of these output columns."""
    exact = media_type != JSON
    values = {name: values_of(answer.columns[name], exact=exact) for name in columns}
    document: dict[str, Any] = {
        "request_id": answer.request_id,
        "service": answer.service,
        "as_of": answer.as_of.isoformat(),
        "rows": len(answer),
    }
    if layout == "rows":
        status = {name: [one.value for one in statuses(answer.codes[name])] for name in columns}
        document["entities"] = [
            {
                "values": {name: values[name][row] for name in columns},
                "status": {name: status[name][row] for name in columns},
            }
            for row in range(len(answer))
        ]
    else:
        document["values"] = values
        # Columns of a view without nulls share their codes.
        known: dict[int, str | list[str]] = {}
        for name in columns:
            codes = answer.codes[name]
            if id(codes) not in known:
                known[id(codes)] = status_of(codes)
        document["status"] = {name: known[id(answer.codes[name])] for name in columns}
    document["views"] = {prefix: _view(meta, full=detail == "full") for prefix, meta in answer.meta.items()}
    document["failures"] = dict(answer.failures)
    return (_msgpack if exact else _json).encode(document)


def status_of(codes: Codes) -> str | list[str]:
    """The statuses of a column."""
    if len(codes) and (codes == codes[0]).all():
        return _NAMES[int(codes[0])]
    return [_NAMES[code] for code in codes.tolist()]


def values_of(column: Column, *, exact: bool) -> list[Any]:
    """The values of a column, as JSON has them, or, where `exact`, as MessagePack does."""
    if isinstance(column, LazyColumn):
        values = column.pylist()
        return values if exact or _are_plain(values, _KINDS[column.dtype.id]) else list(map(plain, values))
    kind = _KINDS.get(column.type.id)
    if kind is None:
        return [plain(value, exact=exact) for value in column.to_pylist()]
    if kind == "as it is":
        found: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
        return found
    return _numbers(column, kind, exact=exact)


_KINDS: Final = {
    **{one.id: "as it is" for one in (pa.string(), pa.large_string(), pa.bool_())},
    **{one.id: "small" for one in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32())},
    **{one.id: "integer" for one in (pa.int64(), pa.uint64())},
    **{one.id: "float" for one in (pa.float16(), pa.float32(), pa.float64())},
}
"""By type, how its values are told; all others by `plain`, one by one."""


def _are_plain(values: list[Any], kind: str) -> bool:
    """Whether JSON has all these values as they are. The sum is not finite if one value is not."""
    if kind == "float":
        return math.isfinite(sum(values))
    return kind != "integer" or max(map(abs, values), default=0) <= EXACT_IN_JSON


def _numbers(array: pa.Array, kind: str, *, exact: bool) -> list[Any]:
    null = None
    if array.null_count:
        null = np.flatnonzero(np.asarray(array.is_null()))
        array = pc.fill_null(array, 0)
    numbers = array.to_numpy(zero_copy_only=False)
    found: list[Any] = numbers.tolist()
    if not exact and kind != "small" and len(numbers):
        usual = np.isfinite(numbers) if kind == "float" else _is_exact(numbers)
        if not usual.all():
            for row in np.flatnonzero(~usual).tolist():
                found[row] = plain(found[row])
    if null is not None:
        for row in null.tolist():
            found[row] = None
    return found


def _is_exact(numbers: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which integers every reader of JSON takes for what they are."""
    mask: npt.NDArray[np.bool_] = numbers <= EXACT_IN_JSON
    return mask if numbers.dtype.kind == "u" else mask & (numbers >= -EXACT_IN_JSON)


def _view(meta: Meta, *, full: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"version": meta.version, "complete_through": plain(meta.complete_through)}
    if full:
        document |= {
            "event_at": [plain(one) for one in meta.event_at],
            "available_at": [plain(one) for one in meta.available_at],
            "age_seconds": [plain(one) for one in meta.age],
            "cut": [None if cut is None else {"n": cut.n, "fences": cut.fences} for cut in meta.cut],
            "seq": meta.seq,
            "cached_seconds": [plain(one) for one in meta.cached_for],
        }
    return document
