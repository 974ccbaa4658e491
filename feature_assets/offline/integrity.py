"""The log of a local Delta table, looked at file by file: is it whole, and if not, what is the last good version?

delta-rs reads an empty commit as a version with fewer rows, and a commit torn between two lines as well: both without
an error. So each of our commits carries a checksum over its own actions, and each checkpoint has a digest beside it.
Invariant: a log whose files are not what was written is never opened as if they were; `found` names the file. The
limit: a checkpoint that another tool made has no digest, and is only known to be there and not to be empty.
It repairs nothing (`repair.py` does) and reads no data files; their pages and footers have checksums of their own.
"""

import hashlib
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
from pyarrow import ArrowException

from feature_assets.errors import TableDamagedError
from feature_assets.offline import durable, faults

LOG = "_delta_log"
LAST_CHECKPOINT = "_last_checkpoint"
DIGESTS = "_integrity"
CHECKSUM = "feature_assets_checksum"
"""The key in a commit's `commitInfo` under which its checksum stands."""

_COMMIT = re.compile(r"^(\d{20})\.json$")
_CHECKPOINT = re.compile(r"^(\d{20})\.checkpoint(\..+)?\.parquet$")
_RESTORE = (
    "restore that file from a backup; without one, move the table's folder aside and materialize it again "
    "(docs/operations.md, 'A table is damaged')"
)
_REPAIR = (
    "feature-assets maintenance repair {table} moves the named files aside and loses nothing that was "
    "acknowledged (docs/operations.md, 'A table is damaged')"
)


class _File(msgspec.Struct):
    path: str
    size: int | None = None
    stats: str | None = None


class _Transaction(msgspec.Struct, rename="camel"):
    app_id: str
    version: int


class _Action(msgspec.Struct, rename="camel"):
    """One line of a commit; only what the checksum covers."""

    commit_info: dict[str, object] | None = None
    add: _File | None = None
    remove: _File | None = None
    txn: _Transaction | None = None


_ACTION = msgspec.json.Decoder(_Action)


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a log. `aside`: files that can be moved away without losing an acknowledged commit."""

    file: Path
    what: str
    last_good: int | None
    aside: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _Listing:
    """The names of a log's files by version. A checkpoint in several parts counts as one."""

    log: Path
    commits: dict[int, str]
    checkpoints: dict[int, tuple[str, ...]]

    @property
    def newest(self) -> int:
        return max(self.commits, default=max(self.checkpoints, default=-1))

    def tail(self, after: int) -> list[tuple[int, Path]]:
        """The commits that a reader starting from checkpoint `after` applies, in order."""
        return [(version, self.log / self.commits[version]) for version in sorted(self.commits) if version > after]

    def checkpoint(self, version: int) -> tuple[Path, ...]:
        """The files of a checkpoint; none if there is none."""
        return tuple(self.log / name for name in self.checkpoints.get(version, ()))

    def readable_without(self, checkpoint: int) -> bool:
        """Whether the commits reach back to an older checkpoint or to the first one without a gap."""
        start = max((version for version in self.checkpoints if version < checkpoint), default=-1)
        return all(version in self.commits for version in range(start + 1, self.newest + 1))


def checksum(adds: Iterable[tuple[str, int | None, str | None]], removes: Iterable[str], txns: Iterable[str]) -> str:
    """A checksum over a commit's actions: 8 hex digits of CRC-32 over their sorted lines."""
    lines = [
        *(f"add {path} {size} {stats}" for path, size, stats in adds),
        *(f"remove {path}" for path in removes),
        *(f"txn {txn}" for txn in txns),
    ]
    return f"{zlib.crc32(chr(10).join(sorted(lines)).encode()):08x}"


def has_log(folder: Path) -> bool:
    """Whether there is a table, whole or not."""
    log = folder / LOG
    # The first commit or, once that was cleaned up, a pointer to a checkpoint; else whatever there is.
    if (log / f"{0:020d}.json").exists() or (log / LAST_CHECKPOINT).exists():
        return True
    return any(log.glob("*.json"))


Mark = tuple[int, int, int, int]


def mark(folder: Path) -> Mark | None:
    """What tells the newest commit of the table under `folder` from any other, also from one of another table there.

    Its version, and the size, time and place on the disk of its file, which is written once. None: there is none.
    """
    log = folder / LOG
    try:
        # Versions have leading zeros.
        newest = max((name for name in os.listdir(log) if _COMMIT.match(name)), default=None)  # noqa: PTH208 # see `_listed`
        if newest is None:
            return None
        found = (log / newest).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return int(newest.removesuffix(".json")), found.st_size, found.st_mtime_ns, found.st_ino


def check(folder: Path, table: str) -> None:
    """Raise `TableDamagedError` if the log under `folder` is not as it was written. A folder without a log passes."""
    damage = found(folder)
    if damage is not None:
        raise error(table, damage)


def explained(folder: Path, table: str, what: str) -> TableDamagedError:
    """The error for a log that passed `check` and could not be opened all the same: checkpoints are read here too."""
    damage = found(folder, deep=True)
    return faults.damaged(table, what) if damage is None else error(table, damage)


def found(folder: Path, *, deep: bool = False) -> Damage | None:
    """What is wrong with the log under `folder`, if anything. `deep` also decodes checkpoints that have no digest."""
    log = folder / LOG
    if not log.is_dir():
        return None
    listing = _listed(log)
    start = max(listing.checkpoints, default=-1)
    return (
        _bad_checkpoint(folder, listing, start, deep=deep)
        or _bad_commit(listing.tail(start))
        or _gap(log, listing.tail(start), start)
    )


def added_at(folder: Path, path: str, after: int = -1) -> int | None:
    """The version later than `after` that added the data file `path`, if a commit that is still in the log says so."""
    for version, commit in _listed(folder / LOG).tail(after):
        if any(action.add is not None and action.add.path == path for action in _actions(commit.read_bytes()) or ()):
            return version
    return None


def sync_log(folder: Path, after: int) -> None:
    """Flush every commit and checkpoint later than version `after` to the device, with their names."""
    log = folder / LOG
    listing = _listed(log)
    for _, path in listing.tail(after):
        durable.sync_file(path)
    for version in listing.checkpoints:
        if version > after:
            for path in listing.checkpoint(version):
                durable.sync_file(path)
    durable.sync_file(log)


def keep_digest(folder: Path, version: int) -> None:
    """Write the digest of a checkpoint that was just made, durably; `check` compares it from then on."""
    paths = _listed(folder / LOG).checkpoint(version)
    for path in (*paths, folder / LOG / LAST_CHECKPOINT):
        durable.sync_file(path)
    durable.replace_file(_digest_path(folder, version), _digest(paths).encode(), folder)


def forget_digests(folder: Path) -> None:
    """Delete the digests of checkpoints that are not there any more."""
    if (folder / DIGESTS).is_dir():
        kept = _listed(folder / LOG).checkpoints
        for path in (folder / DIGESTS).glob("*.sha256"):
            if int(path.stem) not in kept:
                path.unlink()


def _listed(log: Path) -> _Listing:
    commits: dict[int, str] = {}
    checkpoints: dict[int, list[str]] = {}
    # Names only: a log has thousands, and making a path of each would take longer than all the rest.
    for name in os.listdir(log):  # noqa: PTH208
        if match := _COMMIT.match(name):
            commits[int(match[1])] = name
        elif match := _CHECKPOINT.match(name):
            checkpoints.setdefault(int(match[1]), []).append(name)
    return _Listing(log, commits, {version: tuple(sorted(names)) for version, names in checkpoints.items()})


def _actions(data: bytes) -> list[_Action] | None:
    """The lines of a commit, or None if one of them is not JSON."""
    try:
        return [_ACTION.decode(line) for line in data.splitlines() if line.strip()]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _fault_of(data: bytes) -> str | None:
    """What is wrong with a commit's content, if anything."""
    actions = _actions(data)
    if not data.strip():
        return "is empty"
    if actions is None:
        return "is torn"
    stated = next((action.commit_info.get(CHECKSUM) for action in actions if action.commit_info is not None), None)
    if stated is None:
        return None
    actual = checksum(
        [(add.path, add.size, add.stats) for action in actions if (add := action.add) is not None],
        [action.remove.path for action in actions if action.remove is not None],
        [f"{action.txn.app_id} {action.txn.version}" for action in actions if action.txn is not None],
    )
    return None if actual == stated else "is not as it was written (its checksum differs)"


def _bad_commit(tail: Sequence[tuple[int, Path]]) -> Damage | None:
    for position, (version, path) in enumerate(tail):
        fault = _fault_of(path.read_bytes())
        if fault is None:
            continue
        rest = [other for _, other in tail[position:]]
        # Every acknowledged commit was synced together with the one before it, so a commit that is empty or torn, with
        # only such ones behind it, was acknowledged to nobody.
        unacknowledged = all(_actions(other.read_bytes()) in (None, []) for other in rest)
        return Damage(path, f"commit {version} {fault}", version - 1, tuple(rest) if unacknowledged else ())
    return None


def _gap(log: Path, tail: Sequence[tuple[int, Path]], start: int) -> Damage | None:
    expected = start + 1
    for version, _ in tail:
        if version != expected:
            last_good = expected - 1 if expected > 0 else None
            return Damage(log / f"{expected:020d}.json", f"commit {expected} is missing", last_good)
        expected += 1
    return None


def _bad_checkpoint(folder: Path, listing: _Listing, version: int, *, deep: bool) -> Damage | None:
    hint = folder / LOG / LAST_CHECKPOINT
    expected = _hinted(hint)
    if expected is not None and expected > version:
        whole = listing.readable_without(expected)
        what = f"checkpoint {expected} is missing"
        return Damage(hint, what, listing.newest if whole else None, (hint,) if whole else ())
    if version < 0:
        return None
    paths, digest = listing.checkpoint(version), _digest_path(folder, version)
    whole = digest.read_text() == _digest(paths) if digest.exists() else _decodes(paths, deep=deep)
    if whole:
        return None
    aside = tuple(path for path in (*paths, digest, hint) if path.exists())
    without = listing.readable_without(version)
    what = f"checkpoint {version} is not as it was written"
    return Damage(paths[0], what, listing.newest if without else None, aside if without else ())


def _decodes(paths: Sequence[Path], *, deep: bool) -> bool:
    """For a checkpoint that another tool made, without a digest."""
    if not deep:
        return all(path.stat().st_size > 0 for path in paths)
    try:
        for path in paths:
            pq.ParquetFile(path).read()
    except (ArrowException, OSError, ValueError):
        return False
    return True


def _hinted(hint: Path) -> int | None:
    """The version that `_last_checkpoint` names. delta-rs ignores one that it cannot read, and so does this."""
    try:
        content = msgspec.json.decode(hint.read_bytes(), type=dict[str, object])
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    version = content.get("version")
    return version if isinstance(version, int) else None


def _digest_path(folder: Path, version: int) -> Path:
    return folder / DIGESTS / f"{version:020d}.sha256"


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def error(table: str, damage: Damage) -> TableDamagedError:
    """The error that says what is wrong, the last good version, and the way out."""
    what = f"{damage.what} ({damage.file})"
    way_out = _REPAIR.format(table=table) if damage.aside else _RESTORE
    return faults.damaged(table, what, last_good=damage.last_good, way_out=way_out)
