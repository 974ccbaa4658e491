"""A small reducer: sums by tile of event time, the smallest state in which a lost or doubled record shows.

Invariant: a state holds the sum of every tile that a window asked for at or after the last write can cover.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from feature_assets.online.protocol import Record

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[int, int])
_payload = msgspec.msgpack.Decoder(int)


@dataclass(frozen=True, slots=True)
class TileSums:
    """A `Reducer` for the sum over a window, in tiles of `hop` (both microseconds). Payloads: MessagePack integers."""

    window: int
    hop: int

    def empty(self) -> bytes:
        return _encoder.encode({})

    def apply(self, state: bytes, records: Sequence[Record], now: int) -> bytes:
        tiles = _decoder.decode(state)
        for record in records:
            tile = record.event_at // self.hop * self.hop
            tiles[tile] = tiles.get(tile, 0) + _payload.decode(record.payload)
        # One spare tile, for a reader whose clock is a little behind.
        horizon = self.start(now) - self.hop
        return _encoder.encode({tile: tiles[tile] for tile in sorted(tiles) if tile >= horizon})

    def value(self, state: bytes, as_of: int) -> int:
        """The sum over the window that ends at `as_of`."""
        start = self.start(as_of)
        return sum(total for tile, total in _decoder.decode(state).items() if tile >= start)

    def start(self, as_of: int) -> int:
        """Where the window that ends at `as_of` starts, on a whole tile."""
        return (as_of - self.window) // self.hop * self.hop
