"""Availability of a log's records, resolved with painted spans, against a look at every row of the ledger."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.clock import OPEN
from feature_assets.offline.availability import Provenance
from feature_assets.offline.ledger import LedgerRow
from feature_assets.offline.stream_availability import stream_timeline
from feature_assets_tests.oracle.stream_availability import Range, interval, interval_in_lives

PLACES = ("log/0", "log/1")
ENTITIES = (b"a", b"b", b"c")
RANGES = st.builds(
    lambda place, first, length, entity, sent_at, took, recovered: Range(
        place, first, first + length, entity, sent_at, sent_at + took, recovered
    ),
    st.sampled_from(PLACES),
    st.integers(0, 20),
    st.integers(0, 8),
    st.sampled_from([None, None, *ENTITIES]),
    st.integers(0, 1000),
    st.integers(0, 50),
    st.booleans(),
)


def ledger_row(span: Range) -> LedgerRow:
    return LedgerRow(
        kind="range",
        view="v",
        version="1",
        target="t",
        source_partition=span.place,
        first=span.first,
        last=span.last,
        entity=span.entity,
        sent_at=span.sent_at,
        acked_at=span.acked_at,
        life=span.life,
        provenance="recovered" if span.recovered else "recorded",
    )


RECORDS = st.lists(
    st.tuples(st.sampled_from([*PLACES, "log/2"]), st.integers(0, 30), st.sampled_from([*ENTITIES, b"z"])),
    max_size=40,
)
RETIRED = LedgerRow(kind="retired", view="v", version="1", target="t", sent_at=0, acked_at=0)
Interval = tuple[int, int, bool]


@settings(max_examples=400)
@given(
    # Of equal acknowledgements either answers; that case is a unit test.
    spans=st.lists(RANGES, max_size=25, unique_by=lambda span: span.acked_at),
    records=RECORDS,
)
def test_every_record_is_visible_when_the_rows_say(spans: list[Range], records: list[tuple[str, int, bytes]]) -> None:
    require([ledger_row(span) for span in spans], records, [interval(spans, *record) for record in records])


@given(
    said=st.lists(
        st.one_of(st.none(), *[st.builds(replace, RANGES, life=st.integers(0, 2))] * 4),
        max_size=25,
        unique_by=lambda span: None if span is None else span.acked_at,
    )
    | st.lists(st.builds(replace, RANGES, life=st.integers(0, 1)), max_size=25, unique_by=lambda span: span.acked_at),
    again=st.integers(0, 25),
    records=RECORDS,
)
def test_in_each_life_a_record_is_made_visible_anew(
    said: list[Range | None], again: int, records: list[tuple[str, int, bytes]]
) -> None:
    said.insert(min(again, len(said)), None)
    rows = [RETIRED if span is None else ledger_row(span) for span in said]
    require(rows, records, [interval_in_lives(said, *record) for record in records])


def require(
    rows: Sequence[LedgerRow], records: Sequence[tuple[str, int, bytes]], wanted: Sequence[Interval | None]
) -> None:
    found = stream_timeline(rows).resolve(
        source_partition=pa.array([place for place, _, _ in records], pa.string()),
        offset=np.array([offset for _, offset, _ in records], np.int64),
        entity=[entity for _, _, entity in records],
    )
    for number, expected in enumerate(wanted):
        assert found.superseded_at[number] == OPEN
        if expected is None:
            assert found.available_at[number] == OPEN
            continue
        sent_at, acked_at, recovered = expected
        kind = Provenance.RECOVERED if recovered else Provenance.RECORDED
        got = found.sent_at[number], found.available_at[number], found.provenance[number]
        assert got == (sent_at, acked_at, kind)
