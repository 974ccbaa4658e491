"""Predicting: a model read back from its text, asked for scores.

Invariant: a text is only ever used under the manifest it was written with; a text that was changed is refused.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_assets.errors import RetrainingError
from feature_assets.retraining.inputs import matrix
from feature_assets.retraining.manifest import THREADS, ModelManifest, checksum

if TYPE_CHECKING:
    from lightgbm import Booster


@dataclass(frozen=True, slots=True)
class Predictor:
    """A model that can be asked. Made by `load`."""

    manifest: ModelManifest
    booster: "Booster"

    def predict(self, table: pa.Table) -> npt.NDArray[np.float64]:
        """A score between 0 and 1 for each row.

        `table`: a training set, or the columns of an online answer; other columns are ignored. A category that the rows
        of the training did not hold counts as missing. Raises `RetrainingError` for an input that is not there or is of
        another kind than in training.
        """
        if table.num_rows == 0:
            return np.empty(0, dtype=np.float64)
        values = matrix(table, self.manifest.inputs, f"model {self.manifest.name}/{self.manifest.id}")
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
