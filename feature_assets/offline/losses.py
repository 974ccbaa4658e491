"""Which commits of a table were given up: their rows are lost, and somebody has said so.

A table whose files lack the rows of a commit is damaged. After `repair.abandon` it is a table with a known gap: the
numbers stand in `_integrity/lost.json`. Invariant: numbers are only added; whoever reads below one gets what is left,
and a manifest that pins lost rows fails by its digest.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from feature_assets.offline import durable
from feature_assets.offline.lake import Lake

FOLDER = "_integrity"
NAME = "lost.json"


def lost_commits(lake: Lake, parts: Sequence[str]) -> frozenset[int]:
    """The numbers of the commits that were given up, whole or in part; none for almost every table."""
    with lake.faults(*parts, reading=True):
        try:
            with lake.filesystem(*parts).open_input_file(f"{FOLDER}/{NAME}") as file:
                return frozenset(msgspec.json.decode(file.read(), type=list[int]))
        except (FileNotFoundError, msgspec.DecodeError):
            return frozenset()


def record_lost(lake: Lake, parts: Sequence[str], numbers: Collection[int]) -> None:
    """Add to the commits that were given up, durably."""
    data = msgspec.json.encode(sorted({*lost_commits(lake, parts), *numbers}))
    with lake.faults(*parts):
        if not lake.is_remote:
            durable.replace_file(lake.path(*parts) / FOLDER / NAME, data, Path(lake.root).parent)
            return
        with lake.filesystem(*parts).open_output_stream(f"{FOLDER}/{NAME}") as stream:
            stream.write(data)
