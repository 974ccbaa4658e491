"""The footer of a data file: which versions of which partitions the file holds, and whether it is as it was written.

So the versions of a table are known from its log and a few footers, without reading a row. Invariant: what is read is
what was written (it has a checksum), or nothing: then the rows are read.
"""

import os
import re
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

KEY = "feature_assets_versions"
_TAIL = 8
"""A Parquet file ends with the length of its footer and the letters PAR1, 4 bytes each."""
_TOLD = re.compile(r"\.([0-9a-f]{8})\.parquet$")
_COLUMNS = ("partition", "commit_seq", "source_seq")


class FileVersion(msgspec.Struct, frozen=True, array_like=True):
    """One version of one partition in one file. `rows` is 0 for a marker."""

    partition: str
    commit_seq: int
    source_seq: int | None
    rows: int


class _Footer(msgspec.Struct, frozen=True, array_like=True):
    checksum: int
    versions: msgspec.Raw


@dataclass(slots=True)
class Content:
    """The versions of a file, gathered as its rows are written."""

    rows: dict[tuple[str, int, int | None], int] = field(default_factory=dict)

    def add(self, table: pa.Table) -> None:
        """Count the rows of one more part."""
        real = pc.cast(pc.greater_equal(table.column("row"), 0), pa.int64())
        source_seq = (
            table.column("source_seq") if "source_seq" in table.column_names else pa.nulls(table.num_rows, pa.int64())
        )
        columns = [table.column("partition").cast(pa.string()), table.column("commit_seq"), source_seq, real]
        counted = pa.table(columns, names=[*_COLUMNS, "rows"]).group_by(list(_COLUMNS)).aggregate([("rows", "sum")])
        for row in counted.to_pylist():
            key = (row["partition"], row["commit_seq"], row["source_seq"])
            self.rows[key] = self.rows.get(key, 0) + row["rows_sum"]

    def encoded(self) -> dict[str, str]:
        """The footer's entry."""
        versions = [FileVersion(*key, rows) for key, rows in sorted(self.rows.items(), key=lambda item: item[0][:2])]
        raw = msgspec.json.encode(versions)
        return {KEY: msgspec.json.encode(_Footer(zlib.crc32(raw), msgspec.Raw(raw))).decode()}


def checksum(path: Path) -> str:
    """A checksum of the footer of a local file, 8 hex digits. Raises `OSError` if it has none.

    Parquet checks its pages and not its footer, where a flipped bit can rename a column: it would then be read as null.
    """
    with path.open("rb") as file:
        file.seek(-_TAIL, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-_TAIL - length, os.SEEK_END)
        return f"{zlib.crc32(file.read()):08x}"


def is_as_written(path: Path) -> bool:
    """Whether the footer of a local file is the one that its name tells; a name that tells none is believed.

    Raises `FileNotFoundError`.
    """
    told = _TOLD.search(path.name)
    if told is None:
        return True
    try:
        return checksum(path) == told[1]
    except FileNotFoundError:
        raise
    except OSError:
        return False


def local_versions_in(path: Path) -> list[FileVersion] | None:
    """The same as `versions_in` for a local file. It is read again when it has changed, which a data file never does.

    Raises `FileNotFoundError`.
    """
    found = path.stat()
    return _read_once(str(path), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=4096)
def _read_once(path: str, _size: int, _changed_ns: int) -> list[FileVersion] | None:
    return versions_in(fs.LocalFileSystem(), path)


def versions_in(filesystem: fs.FileSystem, path: str) -> list[FileVersion] | None:
    """What the file's footer says, or None if it says nothing that can be relied upon.

    Raises `FileNotFoundError` if there is no such file.
    """
    try:
        with filesystem.open_input_file(path) as file:
            found = (pq.read_metadata(file).metadata or {}).get(KEY.encode())
        if found is None:
            return None
        footer = msgspec.json.decode(found, type=_Footer)
        if zlib.crc32(footer.versions) != footer.checksum:
            return None
        return msgspec.json.decode(footer.versions, type=list[FileVersion])
    except FileNotFoundError:
        raise
    except (msgspec.DecodeError, pa.ArrowException, OSError):
        return None
