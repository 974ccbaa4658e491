"""Predicting: a model read back from its text, asked for scores.

Invariant: a text is only ever used under the manifest it was written with; a text that was changed is refused. What
the online store did not say is no missing value: nothing is predicted from it unless the caller says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.errors import RetrainingError, UnknownFeaturesError
from feature_assets.retraining.inputs import matrix
from feature_assets.retraining.manifest import THREADS, ModelManifest, checksum
from feature_assets.serving.answer import Answer
from feature_assets.serving.status import statuses
from feature_assets.serving.status import unknown as is_unknown

if TYPE_CHECKING:
    from lightgbm import Booster

Unknown = Literal["refuse", "null"]
_SHOWN = 5
"""Rows and features that an error lists before it says that there are more."""


@dataclass(frozen=True, slots=True)
class Predictor:
    """A model that can be asked. Made by `load`."""

    manifest: ModelManifest
    booster: "Booster"

    def predict(self, features: pa.Table | Answer, *, unknown: Unknown = "refuse") -> npt.NDArray[np.float64]:
        """A score between 0 and 1 for each row.

        `features`: an online answer, or a training set; other columns are ignored. A category that the rows of the
        training did not hold counts as missing. Hand over the answer itself, not its table, which cannot tell a value
        that is missing from one that the store did not say. Raises `UnknownFeaturesError` for inputs that are unknown
        (`LOADING`, `THROTTLED`, `TIMEOUT`, `ERROR`), naming them; with `unknown="null"` they count as missing. Raises
        `RetrainingError` for an input that is not there or is of another kind than in training.
        """
        where = f"model {self.manifest.name}/{self.manifest.id}"
        if isinstance(features, Answer) and unknown == "refuse":
            _require_known(features, [one.name for one in self.manifest.inputs], where)
        table = features.table if isinstance(features, Answer) else features
        if table.num_rows == 0:
            return np.empty(0, dtype=np.float64)
        values = matrix(table, self.manifest.inputs, where)
        return np.asarray(self.booster.predict(values, num_threads=THREADS), dtype=np.float64)


def load(manifest: ModelManifest, text: bytes) -> Predictor:
    """The model behind `text`. Raises `RetrainingError` if it is not the text that the manifest was written for."""
    where, found = f"model {manifest.name}/{manifest.id}", checksum(text)
    if found != manifest.checksum:
        raise RetrainingError(
            f"{where}: its text has checksum {found[:12]}..., trained was {manifest.checksum[:12]}...: it was changed",
            hint="restore the file, or train again; a changed model is never used",
        )
    from lightgbm import Booster

    return Predictor(manifest=manifest, booster=Booster(model_str=text.decode()))


def _require_known(answer: Answer, inputs: Sequence[str], where: str) -> None:
    """Raise `UnknownFeaturesError` if the answer does not say what some of the inputs are in some rows."""
    masks = {name: is_unknown(answer.codes[name]) for name in inputs if name in answer.codes}
    wrong = {name: np.flatnonzero(mask) for name, mask in masks.items() if mask.any()}
    if not wrong:
        return
    rows = len(np.unique(np.concatenate(list(wrong.values()))))
    said = [
        f"{name!r} is {'/'.join(sorted({one.value for one in statuses(answer.codes[name][at])}))} in {_rows(at)}"
        for name, at in list(wrong.items())[:_SHOWN]
    ]
    more = "" if len(wrong) <= _SHOWN else f"; and {len(wrong) - _SHOWN} more features"
    prefixes = {name.split("__", maxsplit=1)[0] for name in wrong}
    reasons = [f"; {prefix}: {reason}" for prefix, reason in answer.failures.items() if prefix in prefixes]
    raise UnknownFeaturesError(
        f"{where}: in {rows} of {len(answer)} rows of {answer.service!r} there are inputs that are unknown, which is "
        f"not missing: {'; '.join(said)}{more}{''.join(reasons)}",
        hint='ask again, or decide without the model; predict(answer, unknown="null") lets them count as missing',
    )


def _rows(at: npt.NDArray[np.int64]) -> str:
    shown = ", ".join(str(row) for row in at[:_SHOWN].tolist())
    return f"row{'s' if len(at) > 1 else ''} {shown}{', ...' if len(at) > _SHOWN else ''}"
