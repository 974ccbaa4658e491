"""Models: what is trained, from which service, on which label, and what lets a new one replace the old.

Invariant: a label is used only after the instant at which its outcome was known, and is never an input.
Training and its gate are in `feature_assets.retraining`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

import pyarrow as pa

from feature_assets.definition.duration import require_duration
from feature_assets.definition.naming import require_callable, require_name, require_unique
from feature_assets.definition.place import Place, assign, current_place, refusal
from feature_assets.definition.service import FeatureService
from feature_assets.errors import did_you_mean

Spine = Callable[[datetime, datetime], pa.Table]
"""`spine(start, end)`: the rows to train on whose timestamp is in [start, end)."""


@dataclass(frozen=True, slots=True)
class Label:
    """What is predicted: a column of the spine, and the column with the instant at which its outcome was known."""

    name: str
    matured_at: str
    dtype: pa.DataType

    def __post_init__(self) -> None:
        require_name("Label", self.name)
        require_name("Label", self.matured_at, f"{self.name}: matured_at")
        dtype = self.dtype
        if not (pa.types.is_boolean(dtype) or pa.types.is_integer(dtype) or pa.types.is_floating(dtype)):
            hint = "a label is a bool, an integer or a float; number the classes"
            raise refusal("Label", self.name, f"dtype: {dtype} cannot be learned", hint)
        if self.name == self.matured_at:
            hint = "name the column with the instant at which the outcome was known"
            raise refusal("Label", self.name, "matured_at: it is the label itself", hint)


@dataclass(frozen=True, slots=True)
class Split:
    """Which rows do what, counted back from the instant of training: a model is retrained, and its split moves along.

    The newest `test` compare a challenger with the champion and are seen by neither, the `valid` before them stop the
    training early, and the rest of `history` trains.
    """

    history: timedelta
    valid: timedelta
    test: timedelta

    def __post_init__(self) -> None:
        for role in ("history", "valid", "test"):
            require_duration("Split", "split", role, getattr(self, role), positive=True)
        if self.history <= self.valid + self.test:
            what = (
                f"history: {self.history} leaves nothing to train on before valid, {self.valid}, and test, {self.test}"
            )
            raise refusal("Split", "split", what, "history covers all three: training, validation and test")

    def at(self, now: datetime) -> tuple[datetime, datetime, datetime]:
        """The starts of training, validation and test for a model trained at `now`; the test ends at `now`."""
        return now - self.history, now - self.test - self.valid, now - self.test


@dataclass(frozen=True, slots=True)
class Gate:
    """When to retrain, and what a challenger must show.

    A feature has drifted past a population stability index of `max_psi`; `min_drifted_features` of them make a drift
    that matters; a model older than `max_age` is retrained anyway. A challenger is promoted if the lower bound of its
    advantage is above `margin`.
    """

    max_psi: float = 0.25
    min_drifted_features: int = 1
    margin: float = 0.0
    max_age: timedelta | None = None

    def __post_init__(self) -> None:
        if not self.max_psi > 0:
            raise refusal("Gate", "gate", f"max_psi: {self.max_psi!r} is not positive", "0.25 is the usual bound")
        if self.min_drifted_features < 1:
            what = f"min_drifted_features: {self.min_drifted_features!r} is less than 1"
            raise refusal("Gate", "gate", what, "with 0, every check would ask for a new model")
        if not self.margin >= 0:
            what = f"margin: {self.margin!r} is negative"
            raise refusal("Gate", "gate", what, "0.0 lets a challenger win by being surely better at all")
        if self.max_age is not None:
            require_duration("Gate", "gate", "max_age", self.max_age, positive=True)


@dataclass(frozen=True, slots=True, init=False)
class Model:
    """A model of one service.

    `spine` gives the rows: the service's key columns, `timestamp` (when each prediction would have been asked for) and
    the label's two columns. `parameters` and `rounds` are LightGBM's; `categorical`: output columns of the service.
    """

    name: str
    service: FeatureService
    label: Label
    spine: Spine
    timestamp: str
    split: Split
    gate: Gate
    parameters: Mapping[str, object] = field(hash=False)
    rounds: int
    categorical: tuple[str, ...]
    owner: str
    place: Place = field(init=False, compare=False, repr=False)

    def __init__(  # noqa: PLR0913 - a definition is one call
        self,
        name: str,
        service: FeatureService,
        label: Label,
        spine: Spine,
        timestamp: str,
        split: Split,
        gate: Gate | None = None,
        *,
        parameters: Mapping[str, object] = MappingProxyType({}),
        rounds: int = 100,
        categorical: Sequence[str] = (),
        owner: str = "",
    ) -> None:
        assign(self, name=name, service=service, label=label, spine=spine, timestamp=timestamp, split=split)
        assign(self, gate=gate or Gate(), parameters=MappingProxyType(dict(parameters)), rounds=rounds)
        assign(self, categorical=tuple(categorical), owner=owner, place=current_place())
        require_name("Model", name)
        require_name("Model", timestamp, f"{name}: timestamp")
        self._require_label()
        self._require_categorical()
        require_callable("Model", name, "spine", spine, "(start, end) -> pa.Table")
        if rounds < 1:
            raise refusal(
                "Model", name, f"rounds: {rounds!r} is less than 1", "give the number of boosting rounds, e.g. 200"
            )

    def _require_label(self) -> None:
        inputs = {column.name for column in self.service.key_columns}
        for role, column in (("label", self.label.name), ("label's matured_at", self.label.matured_at)):
            if column in inputs:
                what = f"{role}: column {column!r} is also an input of service {self.service.name!r}"
                raise refusal(
                    "Model", self.name, what, "what is known only later is no input: remove it from the service"
                )
        if self.label.name == self.timestamp:
            raise refusal("Model", self.name, f"label: {self.label.name!r} is the timestamp", "name another column")

    def _require_categorical(self) -> None:
        known = [column.name for column in self.service.output_columns]
        require_unique("Model", self.name, "categorical", self.categorical)
        for column in self.categorical:
            if column not in known:
                what = f"categorical: service {self.service.name!r} has no column {column!r}"
                raise refusal("Model", self.name, what, did_you_mean(column, known))
