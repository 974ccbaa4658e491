"""The item: everything an online store holds about one entity in one view version, and its bytes.

Invariant: an item says exactly what it was computed from. Its *cut* is the highest applied offset per source partition
and the commit sequence of its batch section, and its values equal the kernel over the records inside that cut.

Bytes, readable from any language: one byte, the format version (1), then one MessagePack array.

    item        [batch | nil, streams | nil]
    batch       [n, sent_at, row | nil]                 nil: the entity has no row in the state at n
    row         [event_at, sequence, partition, values]
    streams     [fences, recent, state]
    fences      {source partition: offset}              keys in ascending order
    recent      [[source partition, first, last, sent_at], ...]
    watermark   [n, complete_through, sent_at]          an item of its own, under WATERMARK_KEY

Integers are MessagePack integers, times microseconds since the epoch; `values` and `state` are binary and opaque here,
the rest is text. A later release that only adds appends to these arrays, and is read here without its additions; any
other change raises the version byte, and is refused here. The seq of an item is not in its bytes: the store keeps it
beside them, to condition writes on.

It does not read values, decide about writes or talk to a store.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import TypeVar, cast

import msgspec

from feature_assets.errors import CodecError

FORMAT = 1
"""The format version that is written, and the highest that can be read."""

WATERMARK_KEY = b"\x00watermark"
"""The watermark's key in each table. No entity has it: an encoded key starts with a MessagePack array's first byte."""


def table_name(view: str, version: str, life: int = 0) -> str:
    """The name of a view version's table in the store: in each of its lives another.

    The seq of an item starts anew in a new table. A writer that has slept since the last life must not find that table,
    or it would take what is there for what it once read.
    """
    return f"{view}.{version}" if life == 0 else f"{view}.{version}r{life}"


# None of these can be in a cycle: the garbage collector need not look at them, of which a read makes thousands.
class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The winning row of an entity: its place in the order, the partition it is of, and its packed feature values."""

    event_at: int
    sequence: int
    partition: str
    values: bytes


class BatchSection(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The state of an entity at commit sequence `n`, as written at `sent_at`."""

    n: int
    sent_at: int
    row: Row | None


class Recent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One write of records `first..last` of a source partition that may not be in the ledger yet."""

    source_partition: str
    first: int
    last: int
    sent_at: int


class StreamSection(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What streams have made of an entity. A fence is the highest applied offset of a source partition."""

    fences: dict[str, int]
    recent: tuple[Recent, ...]
    state: bytes


class Cut(msgspec.Struct, frozen=True):
    """What an answer was computed from: the highest applied offset per source partition, the batch state's commit."""

    n: int
    fences: dict[str, int]


class Item(msgspec.Struct, frozen=True, gc=False):
    """An item as read: `seq` is 0 for one that is not stored yet."""

    seq: int = 0
    batch: BatchSection | None = None
    streams: StreamSection | None = None

    @property
    def cut(self) -> Cut:
        """What this item was computed from."""
        n = 0 if self.batch is None else self.batch.n
        return Cut(n, {} if self.streams is None else dict(self.streams.fences))


class Watermark(msgspec.Struct, frozen=True, array_like=True):
    """How far a table is: the state at `n` is complete in it, and that covers time up to `complete_through`."""

    n: int
    complete_through: int
    sent_at: int


class Body(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is in the bytes of an item."""

    batch: BatchSection | None = None
    streams: StreamSection | None = None


Payload = TypeVar("Payload")

_encoder = msgspec.msgpack.Encoder(order="deterministic")
_body_decoder = msgspec.msgpack.Decoder(Body)
_bodies_decoder = msgspec.msgpack.Decoder(list[int | Body])
_watermark_decoder = msgspec.msgpack.Decoder(Watermark)
_VERSION_BYTE = bytes([FORMAT])
_OURS = frozenset({FORMAT})
_first = itemgetter(0)


def pack_item(item: Item) -> bytes:
    """The bytes of an item. Deterministic: equal items have equal bytes."""
    return _VERSION_BYTE + _encoder.encode(Body(item.batch, item.streams))


def unpack_item(value: bytes, seq: int) -> Item:
    """The item of these bytes. Raises `CodecError` for a newer format (naming both) and for what is unreadable."""
    body = _decoded(value, _body_decoder, "item")
    return Item(seq, body.batch, body.streams)


def unpack_bodies(values: Sequence[bytes]) -> list[Body]:
    """What is in the bytes of many items. Raises `CodecError` as `unpack_item` does, if one of them is unreadable."""
    if not (all(values) and _OURS.issuperset(map(_first, values))):
        raise _unreadable(next(value for value in values if value[:1] != _VERSION_BYTE), "item")
    # The version byte is a MessagePack integer: all items are one array in which it comes before each body. Each item
    # begins with it, and it may not stand where a body does: so each has exactly two elements, or this cannot be read.
    try:
        together = _bodies_decoder.decode(b"\xdd" + (2 * len(values)).to_bytes(4, "big") + b"".join(values))
    except (msgspec.DecodeError, UnicodeDecodeError):
        together = []
    bodies = together[1::2]
    if set(map(type, bodies)) == {Body}:
        return cast("list[Body]", bodies)
    return [_decoded(value, _body_decoder, "item") for value in values]


def pack_watermark(watermark: Watermark) -> bytes:
    """The bytes of a watermark."""
    return _VERSION_BYTE + _encoder.encode(watermark)


def unpack_watermark(value: bytes) -> Watermark:
    """The watermark of these bytes. Raises `CodecError` as `unpack_item` does."""
    return _decoded(value, _watermark_decoder, "watermark")


def _decoded(value: bytes, decoder: msgspec.msgpack.Decoder[Payload], what: str) -> Payload:
    if value[:1] != _VERSION_BYTE:
        raise _unreadable(value, what)
    try:
        return decoder.decode(memoryview(value)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodecError(
            f"{what}: {len(value)} bytes of format {FORMAT} cannot be read: {error}",
            hint="the stored bytes are damaged or not ours; retire the version on this store and push it again",
        ) from error


def _unreadable(value: bytes, what: str) -> CodecError:
    if not value:
        return CodecError(f"{what}: empty, not even a format version", hint="the stored bytes are damaged or not ours")
    if value[0] > FORMAT:
        return CodecError(
            f"{what}: written in format {value[0]}, and this release reads up to format {FORMAT}",
            hint="upgrade this reader before the writers, or let a writer of this release push the view again",
        )
    return CodecError(f"{what}: no format {value[0]} exists", hint="the stored bytes are damaged or not ours")
