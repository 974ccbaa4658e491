"""Composite keys as integers: one code per key, the same for the feature rows and for the spine that asks for them.

Invariant: two keys get the same code exactly if all their columns are equal; what no row has gets a code of no row.
No Python loop over rows. It does not cast: both sides bring the same types. It does not hash keys into buckets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_assets.errors import InputError

Ints = npt.NDArray[np.int64]

_SPARE = 4
"""How many times more codes than rows are let stand before they are made dense: later steps work on arrays of rows."""


@dataclass(frozen=True, slots=True)
class Codes:
    """`rows` and `questions`: int64 codes in [0, size); in `questions` also -1, for a key that cannot be a row's."""

    rows: Ints
    questions: Ints
    size: int


def key_codes(rows: Sequence[pa.ChunkedArray], questions: Sequence[pa.ChunkedArray]) -> Codes:
    """Code the keys of rows and questions jointly, given as their key columns in the same order and of the same types.

    Dictionary-encoded columns are taken as what they encode. Raises `InputError` if a row's key holds a null.
    """
    limit = _SPARE * max(len(rows[0]), 1)
    coded = Codes(np.zeros(len(rows[0]), np.int64), np.zeros(len(questions[0]), np.int64), 1)
    for row_column, question_column in zip(rows, questions, strict=True):
        coded = _combined(coded, _column_codes(row_column, question_column, limit), limit)
    return coded


def _combined(major: Codes, minor: Codes, limit: int) -> Codes:
    """Mixed radix: the pair's code. Both sizes are at most about `limit`, so that the product cannot overflow."""
    if major.size == 1:
        known = (major.questions >= 0) & (minor.questions >= 0)
        return Codes(minor.rows, np.where(known, minor.questions, -1), minor.size)
    size = major.size * minor.size
    rows = major.rows * minor.size + minor.rows
    known = (major.questions >= 0) & (minor.questions >= 0)
    questions = np.where(known, major.questions * minor.size + minor.questions, -1)
    if size <= limit:
        return Codes(rows, questions, size)
    return _by_dictionary(pa.chunked_array([pa.array(rows)]), pa.chunked_array([pa.array(questions)]))


def _column_codes(rows: pa.ChunkedArray, questions: pa.ChunkedArray, limit: int) -> Codes:
    if rows.null_count:
        raise InputError(f"{rows.null_count} feature rows have no key", hint="drop rows without a key in the transform")
    plain = _decoded(questions)
    if pa.types.is_integer(rows.type) or pa.types.is_date32(rows.type):
        offsets = _by_offset(rows, plain, limit)
        if offsets is not None:
            return offsets
    return _by_dictionary(rows, plain)


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _by_offset(rows: pa.ChunkedArray, questions: pa.ChunkedArray, limit: int) -> Codes | None:
    """Integers of a narrow range are codes already, once the least is taken away; None if the range is wide."""
    values = _integers(rows)
    if not len(values):
        return Codes(values, np.full(len(questions), -1, np.int64), 1)
    first, last = int(values.min()), int(values.max())
    if last - first >= limit:
        return None
    asked = _integers(questions.fill_null(pa.scalar(0, pa.int32()).cast(questions.type)))
    inside = (asked >= first) & (asked <= last) & np.asarray(questions.is_valid())
    # Clipped first, as the difference of two far integers overflows.
    codes = np.where(inside, np.clip(asked, first, last) - first, -1)
    return Codes(values - first, codes, last - first + 1)


def _integers(column: pa.ChunkedArray) -> Ints:
    whole = column.cast(pa.int32()) if pa.types.is_date32(column.type) else column
    values: Ints = np.asarray(whole).astype(np.int64, copy=False)
    return values


def _by_dictionary(rows: pa.ChunkedArray, questions: pa.ChunkedArray) -> Codes:
    """Any type: the place of a value in the dictionary of the rows' distinct values."""
    encoded = rows.unify_dictionaries() if pa.types.is_dictionary(rows.type) else rows.dictionary_encode()
    if not encoded.num_chunks:
        return Codes(np.zeros(0, np.int64), np.full(len(questions), -1, np.int64), 1)
    values: Any = encoded.chunk(0).dictionary
    indices = pa.chunked_array([chunk.indices for chunk in encoded.chunks])
    asked = pc.index_in(questions, value_set=values).fill_null(-1)
    return Codes(_integers(indices), _integers(asked), max(len(values), 1))
