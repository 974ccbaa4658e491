"""What an answer looks like: columns (or rows) of values, each with its status, and what they were computed from.

Invariant: JSON and MessagePack say the same, by one encoding: times are ISO 8601 text, durations seconds, decimals
text, a map is a list of pairs. What JSON lacks is text there: integers beyond 2**53, "NaN", "Infinity", "-Infinity",
binary as base64; MessagePack has these as they are.

The status of a column is one text if all rows have the same, else a list.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.serving.answer import EXACT_IN_JSON, Answer, Meta, plain
from feature_assets.serving.http.bodies import JSON
from feature_assets.serving.status import Codes, Status, statuses

_json = msgspec.json.Encoder()
_msgpack = msgspec.msgpack.Encoder()
_NAMES: Final = [status.value for status in Status]


def encoded(answer: Answer, columns: Sequence[str], *, media_type: str, detail: str, layout: str) -> bytes:
    """The body of an answer, of these output columns."""
    exact = media_type != JSON
    values = {name: values_of(answer.table.column(name), exact=exact) for name in columns}
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
        document["status"] = {name: status_of(answer.codes[name]) for name in columns}
    document["views"] = {prefix: _view(meta, full=detail == "full") for prefix, meta in answer.meta.items()}
    document["failures"] = dict(answer.failures)
    return (_msgpack if exact else _json).encode(document)


def status_of(codes: Codes) -> str | list[str]:
    """The statuses of a column."""
    if len(codes) and (codes == codes[0]).all():
        return _NAMES[int(codes[0])]
    return [_NAMES[code] for code in codes.tolist()]


def values_of(column: pa.ChunkedArray, *, exact: bool) -> list[Any]:
    """The values of a column, as JSON has them, or, where `exact`, as MessagePack does."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    dtype = array.type
    if pa.types.is_floating(dtype) or pa.types.is_integer(dtype):
        return _numbers(array, exact=exact)
    if pa.types.is_string(dtype) or pa.types.is_boolean(dtype):
        texts: list[Any] = array.to_pylist()
        return texts
    found = array.to_pylist()
    return [plain(value, exact=exact) for value in found]


def _numbers(array: pa.Array, *, exact: bool) -> list[Any]:
    null = None
    if array.null_count:
        null = np.flatnonzero(np.asarray(array.is_null()))
        array = pc.fill_null(array, 0)
    numbers = array.to_numpy(zero_copy_only=False)
    found: list[Any] = numbers.tolist()
    if not exact:
        odd = ~np.isfinite(numbers) if numbers.dtype.kind == "f" else _is_large(numbers)
        for row in np.flatnonzero(odd).tolist():
            found[row] = plain(found[row])
    if null is not None:
        for row in null.tolist():
            found[row] = None
    return found


def _is_large(numbers: Any) -> Any:  # noqa: ANN401 - integers of any width
    if numbers.dtype.itemsize < 8:  # noqa: PLR2004 - bytes of the widest
        return np.zeros(0, np.bool_)
    return (
        (numbers > EXACT_IN_JSON)
        if numbers.dtype.kind == "u"
        else (numbers > EXACT_IN_JSON) | (numbers < -EXACT_IN_JSON)
    )


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
