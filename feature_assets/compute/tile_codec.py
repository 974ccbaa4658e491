"""The bytes of a ring, and back: many items at a time.

Invariant: equal rings have equal bytes; what was damaged, or written for another layout or by a newer release, is an
error and never another ring.

Little endian throughout:

    u1            format: 1, or 2 if it has cells that releases which know only 1 cannot read
    4 bytes       fingerprint of the layout: which slots it has and which hops
    i8            rolled_at, microseconds
    u2 * levels   how many tiles there are of each level, from the finest hop to the coarsest
    u1 u1         codes of the two parts that say where tiles start
    u1 * slots    code of each slot's cells
    u4 * slots    length of each slot's cells
    bytes         for each level, from the coarsest: how many hops before that of rolled_at its first tile is; 0 if none
    bytes         for each tile, in their order, but the first of each level: how many hops are left out before it
    bytes         the cells of each slot, as the slot encodes them, one slot after the other
    u4            CRC-32 (ISO-HDLC, as in zlib) of everything before it

The tile for all time is the first of its level, 0 hops before. Where tiles start is packed by
`packing.packed_integers`; how long the two parts are follows from their codes. Tiles of which none is left out take no
bytes. No bytes at all are a ring without tiles.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, Final
from zlib import crc32

import numpy as np
import numpy.typing as npt

from feature_assets.compute.aggregates.layout import ALL_TIME, FINGERPRINT_BYTES, Layout
from feature_assets.compute.aggregates.packing import OFFSET, Codes, packed_integers, require_lengths, unpacked_integers
from feature_assets.compute.aggregates.slot import Ints
from feature_assets.compute.aggregates.stretches import Stretches
from feature_assets.compute.tile_rolling import BEFORE_ALL, NEVER, Rings, empty_rings
from feature_assets.errors import CodecError, ItemTooLargeError

FORMAT: Final = 2
"""The latest; what is written is the least that the layout's slots need."""
CHECK_BYTES: Final = 4
_INTACT: Final = crc32(b"\0" * CHECK_BYTES)
"""The CRC-32 of anything followed by its own CRC-32."""
_UNDAMAGED: Final = frozenset({_INTACT})
_ZERO: Final = np.zeros(1, np.int64)
_MOST: Final = 2**16 - 1
_WORD: Final = 8
_AGO, _LEFT_OUT, _PLACES = range(3)
"""The parts that say where tiles start, and how many these are: those of the slots come behind them."""
_DAMAGED: Final = "the stored bytes are damaged or not ours; retire the version on this store and push it again"


def packed(rings: Rings) -> list[bytes]:
    """The bytes of each item's ring; none of a ring without tiles. Raises `ItemTooLargeError` for too many tiles."""
    layout, tiles = rings.layout, rings.tiles
    _require_few(rings)
    headers = np.zeros(len(rings), header_of(layout))
    headers["format"] = format_of(layout)
    headers["fingerprint"] = np.frombuffer(layout.fingerprint, np.uint8)
    headers["rolled_at"], headers["counts"] = rings.rolled_at, rings.counts
    headers["places"], columns = _packed_starts(rings)
    for number, (slot, cells) in enumerate(zip(layout.slots, rings.cells, strict=True)):
        codes, blobs = slot.encode(cells, tiles)
        headers["codes"][:, number] = codes
        headers["lengths"][:, number] = np.fromiter(map(len, blobs), np.int64, len(blobs))
        columns.append(blobs)
    size, heads = headers.dtype.itemsize, headers.tobytes()
    found = []
    for item, (some, *parts) in enumerate(zip((tiles > 0).tolist(), *columns, strict=True)):
        body = b"".join((heads[item * size : (item + 1) * size], *parts)) if some else b""
        found.append(body + crc32(body).to_bytes(CHECK_BYTES, "little") if some else b"")
    return found


def unpacked(
    layout: Layout,
    blobs: Sequence[bytes],
    only: Collection[int] | None = None,
    *,
    layouts: Sequence[tuple[Layout, int]] = (),
) -> Rings:
    """The rings of these bytes. Raises `CodecError`, naming the view and the blob's place, for what is none of its.

    `only`: the slots (places in the layout's) whose cells are wanted; the others are left out of it, as empty.
    `layouts`: of the same shape, and how many of the blobs are of each; the default is that all are of `layout`.
    """
    there: Sequence[int] = range(len(blobs))
    given = blobs
    if not all(blobs):
        there = [item for item, blob in enumerate(blobs) if blob]
        given = [blobs[item] for item in there]
    if not there:
        return empty_rings(layout, len(blobs))
    joined = Stretches.of(given)
    headers = _headers(layout, _fingerprints(layout, layouts, there), given, joined, there)
    counts = headers["counts"].astype(np.int64)
    tiles = counts.sum(axis=1)
    parts = _parts(layout, headers, joined, counts, there)
    codes = np.concatenate((headers["places"], headers["codes"]), axis=1).T.copy()
    wanted = [number for number in range(len(layout.slots)) if only is None or number in only]
    try:
        whole = _integers(layout, wanted, codes, parts, counts, tiles)
        starts = _unpacked_starts(layout, headers["rolled_at"], counts, whole[_AGO], whole[_LEFT_OUT])
        cells = [slot.empty(0) for slot in layout.slots]
        for number in wanted:
            slot, part = layout.slots[number], parts[_PLACES + number]
            if slot.integers:
                cells[number] = slot.of_integers(whole[_PLACES + number])
            else:
                given = part.blobs() if slot.kind == "object" else part
                cells[number] = slot.decode(codes[_PLACES + number], given, tiles)
    except CodecError as error:
        raise CodecError(f"rings of view {layout.name!r}: {error.message}", hint=error.hint) from error
    if len(there) == len(blobs):
        return Rings(layout, counts, starts, tuple(cells), headers["rolled_at"].astype(np.int64))
    all_counts, all_rolled = np.zeros((len(blobs), len(layout.levels)), np.int64), np.full(len(blobs), NEVER)
    all_counts[there], all_rolled[there] = counts, headers["rolled_at"]
    return Rings(layout, all_counts, starts, tuple(cells), all_rolled)


def fits(layout: Layout, blob: bytes) -> bool:
    """Whether bytes say that they are a ring of this layout, damaged or not."""
    return not blob or (1 <= blob[0] <= FORMAT and blob[1 : 1 + FINGERPRINT_BYTES] == layout.fingerprint)


def format_of(layout: Layout) -> int:
    """The format that rings of a layout are written in; they are read in any up to `FORMAT`."""
    return max(slot.since for slot in layout.slots)


@lru_cache(maxsize=256)
def _header(slots: int, levels: int) -> "np.dtype[np.void]":
    return np.dtype(
        [
            ("format", "u1"),
            ("fingerprint", "u1", (FINGERPRINT_BYTES,)),
            ("rolled_at", "<i8"),
            ("counts", "<u2", (levels,)),
            ("places", "u1", (2,)),
            ("codes", "u1", (slots,)),
            ("lengths", "<u4", (slots,)),
        ]
    )


def header_of(layout: Layout) -> "np.dtype[np.void]":
    """What every ring of a layout begins with."""
    return _header(len(layout.slots), len(layout.levels))


# -------------------------------------------------------------------------------------------------- where tiles start


def _packed_starts(rings: Rings) -> tuple[npt.NDArray[np.uint8], list[list[bytes]]]:
    """The codes and the bytes of both parts."""
    hops, level, counts = _hops(rings.layout), rings.level, rings.counts[:, ::-1]
    step = np.where(hops[level] == ALL_TIME, 0, rings.starts // hops[level])
    some = counts > 0
    first = (np.cumsum(counts) - counts.ravel())[some.ravel()]
    ago = np.zeros(counts.shape, np.int64)
    ago[some] = _now(hops, rings.rolled_at)[some] - step[first]
    is_later = np.ones(len(step), np.bool_)
    is_later[first] = False
    left_out = np.diff(step, prepend=0)[is_later] - 1
    codes, blobs = packed_integers(ago.ravel(), np.full(len(rings), len(hops)))
    other_codes, other_blobs = packed_integers(left_out, (counts - some).sum(axis=1))
    return np.stack((codes, other_codes), axis=1), [blobs, other_blobs]


def _unpacked_starts(layout: Layout, rolled_at: Ints, counts: Ints, ago: Ints, left_out: Ints) -> Ints:
    """The starts of all tiles, from the values of both parts."""
    hops, counted = _hops(layout), counts[:, ::-1]
    some = counted > 0
    of_level = counted[some]
    first = np.cumsum(of_level) - of_level
    is_later = np.ones(int(of_level.sum()), np.bool_)
    is_later[first] = False
    step = np.zeros(len(is_later), np.int64)
    step[is_later] = left_out + 1
    # From the first of each level on; what was counted before that is taken off again.
    total = np.cumsum(step)
    begin = (_now(hops, rolled_at) - ago.reshape(counted.shape))[some] - total[first]
    hop = np.broadcast_to(hops[::-1], counted.shape)[some]
    starts: Ints = np.repeat(begin, of_level)
    starts += total
    starts *= np.repeat(np.where(hop == ALL_TIME, 0, hop), of_level)
    if hops[-1] == ALL_TIME:
        starts[first[hop == ALL_TIME]] = BEFORE_ALL
    return starts


def _now(hops: Ints, rolled_at: Ints) -> Ints:
    """The number of the hop that each item was rolled up in, of each level, from the coarsest."""
    coarsest = hops[::-1]
    return np.where(coarsest == ALL_TIME, 0, rolled_at[:, None] // coarsest)


def _hops(layout: Layout) -> Ints:
    return np.array([level.hop for level in layout.levels], np.int64)


# --------------------------------------------------------------------------------------------------- heads and bodies


def _fingerprints(layout: Layout, layouts: Sequence[tuple[Layout, int]], there: Sequence[int]) -> npt.NDArray[np.uint8]:
    """What each ring has to say that it is of; one for all, if all are of one layout."""
    if not layouts:
        return np.frombuffer(layout.fingerprint, np.uint8)
    each = np.frombuffer(b"".join([one.fingerprint for one, _ in layouts]), np.uint8).reshape(len(layouts), -1)
    of_item: npt.NDArray[np.uint8] = np.repeat(each, [count for _, count in layouts], axis=0)[np.asarray(there)]
    return of_item


def _headers(
    layout: Layout,
    fingerprints: npt.NDArray[np.uint8],
    blobs: Sequence[bytes],
    joined: Stretches,
    there: Sequence[int],
) -> Any:  # noqa: ANN401 - a structured array
    form = header_of(layout)
    if not _UNDAMAGED.issuperset(map(crc32, blobs)) or joined.length.min() < form.itemsize + CHECK_BYTES:
        for place, blob in enumerate(blobs):
            if crc32(blob) != _INTACT or len(blob) < form.itemsize + CHECK_BYTES:
                raise _unreadable(layout, blob, there[place])
    headers = joined.rows(joined.start, form.itemsize).reshape(-1).view(form)
    ours = (headers["format"] >= 1) & (headers["format"] <= FORMAT)
    ours &= (headers["fingerprint"] == fingerprints).all(axis=1)
    if not ours.all():
        place = int(np.flatnonzero(~ours)[0])
        raise _unreadable(layout, blobs[place], there[place])
    return headers


def _parts(
    layout: Layout,
    headers: Any,  # noqa: ANN401 - a structured array
    joined: Stretches,
    counts: Ints,
    there: Sequence[int],
) -> list[Stretches]:
    """What is between head and check of each blob: where tiles start, and then slot by slot."""
    places = headers["places"].astype(np.int64)
    values = np.stack((np.full(len(counts), counts.shape[1]), _later(counts)), axis=1)
    # What a blob of `packed_integers` is long; of other codes something, which is refused when it is read.
    sizes = places % OFFSET * values + np.where((places >= OFFSET) & (values > 0), _WORD, 0)
    sizes = np.concatenate((sizes, headers["lengths"]), axis=1, dtype=np.int64).T.copy()
    ends = np.cumsum(sizes, axis=0)
    ends += headers.dtype.itemsize
    wrong = joined.length != ends[-1] + CHECK_BYTES
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        where = f"ring {there[place]} of view {layout.name!r}"
        raise CodecError(f"{where}: {joined.length[place]} bytes, its head says {ends[-1, place]}", hint=_DAMAGED)
    starts = ends - sizes
    starts += joined.start
    return [Stretches(joined.data, *part) for part in zip(starts, sizes, strict=True)]


def _later(counts: Ints) -> Ints:
    """How many tiles of each item are not the first of their level."""
    later: Ints = np.maximum(counts - 1, 0).sum(axis=1)
    return later


def _integers(
    layout: Layout, wanted: Sequence[int], codes: Codes, parts: Sequence[Stretches], counts: Ints, tiles: Ints
) -> dict[int, Ints]:
    """The values of each part that is nothing but `packed_integers`, of those wanted; all are read in one go."""
    values = {_AGO: np.full(len(counts), counts.shape[1]), _LEFT_OUT: _later(counts)}
    for number in wanted:
        if layout.slots[number].integers:
            values[_PLACES + number] = tiles * layout.slots[number].integers
    several = [number for number in values if codes[number].any()]
    read = {number: np.broadcast_to(_ZERO, int(values[number].sum())) for number in values.keys() - several}
    for number in read:
        require_lengths(codes[number], parts[number].length, values[number])
    if not several:
        return read
    joined = Stretches.together([parts[number] for number in several])
    try:
        found = unpacked_integers(codes[several].ravel(), joined, np.concatenate([values[one] for one in several]))
    except CodecError:
        # One by one, to say of which item.
        return {number: unpacked_integers(codes[number], parts[number], values[number]) for number in values}
    ends = np.cumsum([int(values[number].sum()) for number in several]).tolist()
    return read | dict(zip(several, np.split(found, ends[:-1]), strict=True))


def _require_few(rings: Rings) -> None:
    many = np.flatnonzero(rings.counts.max(axis=1, initial=0) > _MOST)
    if len(many):
        item = int(many[0])
        what = f"ring {item} of view {rings.layout.name!r}: {rings.counts[item].max()} tiles of one hop, of {_MOST}"
        raise ItemTooLargeError(what, hint="are its records dated far ahead? else choose a longer hop for the windows")


def _unreadable(layout: Layout, blob: bytes, item: int) -> CodecError:
    where = f"ring {item} of view {layout.name!r}"
    if blob[0] > FORMAT:
        return CodecError(
            f"{where}: written in format {blob[0]}, and this release reads up to format {FORMAT}",
            hint="upgrade this reader before the writers, or let a writer of this release push the view again",
        )
    if crc32(blob) == _INTACT and not fits(layout, blob):
        return CodecError(
            f"{where}: made for other aggregates or hops than the view declares",
            hint="it is of another version of the view; push the view again, or read it with the code that wrote it",
        )
    return CodecError(f"{where}: {len(blob)} bytes cannot be read", hint=_DAMAGED)
