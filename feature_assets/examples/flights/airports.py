"""The airports of the data and the zones that their clocks keep.

Invariant: every destination that a flight names has a zone; an unknown one is an error, never a guess.
It does not convert anything: see `zones`.
"""

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from feature_assets.errors import InputError
from feature_assets.examples.flights.files import published_file

UNLISTED: Final = {
    # The published table stops at the fifty states. These four have scheduled flights from New York and stand on
    # islands that keep Atlantic time all the year (no daylight saving), so in summer their clocks agree with New
    # York's.
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}


def zones_of(codes: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    """The zone of each airport code, same length.

    Raises `InputError`, naming the codes, for an airport without a known zone.
    """
    known = _published() | UNLISTED
    names = codes.unique().to_pylist()
    missing = sorted(name for name in names if known.get(name) is None)
    if missing:
        msg = f"flights: no time zone is known for the airports {missing}"
        raise InputError(msg, hint="add them, with the reason, to UNLISTED in examples/flights/airports.py")
    zones = np.array([known[name] for name in names], dtype=object)
    position: npt.NDArray[np.int32] = np.asarray(pc.index_in(codes, value_set=pa.array(names, pa.string())))
    return zones[position]


@cache
def _published() -> dict[str, str | None]:
    wanted = pacsv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True, include_columns=["faa", "tzone"])
    table = pacsv.read_csv(published_file("airports.csv"), convert_options=wanted)
    return dict(zip(table["faa"].to_pylist(), table["tzone"].to_pylist(), strict=True))
