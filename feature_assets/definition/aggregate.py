"""Aggregates: what a view keeps of an entity's records over windows of time.

Invariant: an aggregate of a view is a feature per window, and its name, type, meaning and bound are known from the
definition alone. One definition is what the batch job, the stream, the training set and the reader compute.
It is declared here and computed in `feature_assets.compute.aggregates`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import pyarrow as pa

from feature_assets.definition.aggregate_rules import FUNCTIONS, require_parameters
from feature_assets.definition.naming import require_name
from feature_assets.definition.place import assign, refusal
from feature_assets.definition.window import Window
from feature_assets.errors import did_you_mean

_KIND: Final = "Aggregate"


@dataclass(frozen=True, slots=True, init=False)
class Aggregate:
    """One function of one column, over some windows: a feature for each.

    `function`: one of `FUNCTIONS`. `column`: of the view; None counts rows. `windows`: a duration stands for a sliding
    window. `name`: what the features' names begin with (default: column and function); the window's label follows.
    `by`: a column whose values the aggregate is kept apart by: the feature is a map from them.
    `default`: what a reader answers, marked as such, where the value is null.

    Parameters of single functions: `over` (ratio: the column of the denominator), `k` (last_k, last_distinct_k, top_k),
    `bound` (count_distinct, top_k, approx_percentile, and any with `by`: how many different ones are kept; beyond it
    the answer is `OVERFLOW`), `precision` (approx_count_distinct), `percentile` and `accuracy` (approx_percentile:
    which one, and the relative error), `edges` (histogram), `half_life` (decayed_sum, decayed_count), `scale` (sum,
    mean, ratio of floats: decimal places that are kept, exactly).
    """

    function: str
    column: str | None
    windows: tuple[Window, ...]
    name: str
    by: str | None
    default: object = field(hash=False)
    over: str | None
    k: int | None
    bound: int | None
    precision: int | None
    percentile: float | None
    accuracy: float | None
    edges: tuple[float, ...] | None
    half_life: timedelta | None
    scale: int | None
    description: str

    def __init__(  # noqa: PLR0913 - a definition is one call
        self,
        function: str,
        column: str | None = None,
        windows: Window | timedelta | Sequence[Window | timedelta] = (),
        *,
        name: str | None = None,
        by: str | None = None,
        default: object = None,
        over: str | None = None,
        k: int | None = None,
        bound: int | None = None,
        precision: int | None = None,
        percentile: float | None = None,
        accuracy: float | None = None,
        edges: Sequence[float] | None = None,
        half_life: timedelta | None = None,
        scale: int | None = None,
        description: str = "",
    ) -> None:
        if function not in FUNCTIONS:
            what = f"function: there is no {function!r}"
            raise refusal(_KIND, str(function), what, did_you_mean(str(function), FUNCTIONS))
        several = (windows,) if isinstance(windows, Window | timedelta) else tuple(windows)
        each = tuple(_window(one, str(name or function)) for one in several)
        given: Mapping[str, object] = {
            "over": over,
            "k": k,
            "bound": bound,
            "precision": precision,
            "percentile": percentile,
            "accuracy": accuracy,
            "edges": None if edges is None else tuple(edges),
            "half_life": half_life,
            "scale": scale,
        }
        named = name or _default_name(function, column, by, percentile)
        assign(self, function=function, column=column, windows=each, name=named, by=by, default=default)
        assign(self, description=description, **require_parameters(function, named, given, keyed=by is not None))
        self._require_consistent()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the view that it reads, each once."""
        return tuple(dict.fromkeys(one for one in (self.column, self.over, self.by) if one is not None))

    def feature_name(self, window: Window) -> str:
        """The name of the feature over one of its windows."""
        return f"{self.name}_{window.label}"

    def dtype(self, window: Window, columns: Mapping[str, pa.DataType]) -> pa.DataType:
        """The type of that feature, given those of the view's columns."""
        value = FUNCTIONS[self.function].result(None if self.column is None else columns[self.column])
        if self.by is not None:
            value = pa.map_(columns[self.by], value)
        return pa.list_(value) if window.count > 1 else value

    def _require_consistent(self) -> None:
        rule = FUNCTIONS[self.function]
        require_name(_KIND, self.name)
        if self.column is None and rule.needs_column:
            raise refusal(_KIND, self.name, "column: there is none", f"{self.function} is of a column of the view")
        if not self.windows:
            raise refusal(_KIND, self.name, "windows: there is none", "give at least one, e.g. timedelta(hours=1)")
        for window in self.windows:
            if window.size is None and rule.needs_size:
                what = f"windows: {self.function} over a lifetime has no length to be divided by"
                raise refusal(_KIND, self.name, what, "give it a window that has a size")
        labels = [window.label for window in self.windows]
        if len(set(labels)) < len(labels):
            what = f"windows: two of them are called {next(one for one in labels if labels.count(one) > 1)!r}"
            raise refusal(_KIND, self.name, what, "put one of them into an aggregate with a name of its own")
        if self.by is not None and not rule.may_be_keyed:
            keyed = ", ".join(name for name, one in FUNCTIONS.items() if one.may_be_keyed)
            raise refusal(_KIND, self.name, f"by: {self.function} is not kept by a column", f"these are: {keyed}")


def _window(given: object, name: str) -> Window:
    if isinstance(given, timedelta):
        return Window.sliding(given)
    if not isinstance(given, Window):
        what = f"windows: {given!r} is no window"
        raise refusal(_KIND, name, what, "give a timedelta, or Window.sliding(...) and its like")
    return given


def _default_name(function: str, column: str | None, by: str | None, percentile: float | None) -> str:
    """`amount_mean`, `count`, `amount_sum_by_shop`, `amount_p95`."""
    which = function if percentile is None else f"p{100 * percentile:g}".replace(".", "_")
    return "_".join(filter(None, (column, which, None if by is None else f"by_{by}")))
