"""Values as an explanation shows them, and places in code.

Invariant: a value stands in the form that `Answer.to_documents` documents, so that an explanation and an answer of the
same value are the same text.
It reads nothing.
"""

import functools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from feature_assets.clock import OPEN, from_us
from feature_assets.definition.on_demand import OnDemandView
from feature_assets.definition.service import FeatureService
from feature_assets.definition.version import service_version, view_version
from feature_assets.definition.view import FeatureView, Sql
from feature_assets.serving.answer import plain
from feature_assets.serving.explanation import Code


def plain_rows(table: pa.Table) -> list[dict[str, object]]:
    """The rows of a table, of what JSON has."""
    return [{name: plain(value) for name, value in row.items()} for row in table.to_pylist()]


def plain_values(values: pa.Array | pa.ChunkedArray) -> list[object]:
    """The values of a column, of what JSON has."""
    return [row["value"] for row in plain_rows(pa.table({"value": values}))]


def instant(us: int) -> datetime | None:
    """An instant; None for one that is open."""
    # Of years that no calendar has, there is only the side.
    return None if us >= OPEN or us < -_BEFORE_CALENDARS else from_us(us)


_BEFORE_CALENDARS = 62_135_596_800_000_000
"""Microseconds from the first day of year 1 to 1970."""


def code_of_view(view: FeatureView) -> Code:
    """Where a view and its transform stand."""
    is_sql = isinstance(view.transform, Sql)
    return Code(
        version=view_version(view),
        defined_at=str(view.place),
        transform="sql" if is_sql else "function",
        transform_at=str(view.place) if isinstance(view.transform, Sql) else _place_of(view.transform),
        sources=tuple(source.name for source in view.sources),
    )


def code_of_on_demand(view: OnDemandView, service: FeatureService) -> Code:
    """Where a request-time function stands; its version is that of the service."""
    place = _place_of(view.function)
    return Code(version=service_version(service), defined_at=str(view.place), transform="function", transform_at=place)


def _place_of(function: Callable[..., Any]) -> str:
    """The line on which the innermost function of partials and cached functions begins."""
    inner: Any = function
    while True:
        following = inner.func if isinstance(inner, functools.partial) else getattr(inner, "__wrapped__", None)
        if following is None:
            break
        inner = following
    code = getattr(inner, "__code__", None)
    return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def listed(names: Sequence[str], shown: int = 4) -> str:
    """Some names, and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
