"""The leakage page: one file that a parser takes, that loads and runs nothing, whatever the features are called."""

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.training.differences import AGE_BOUNDS, HALF_BINS, Ages, Kinds, Size
from feature_assets.training.leakage import LeakageReport
from feature_assets.training.leakage_figures import FeatureDifference, FeatureLeakage
from feature_assets.training.leakage_words import age, number, percent, schedule_text

ROWS = 1_000
HOUR = timedelta(hours=1)
HOSTILE = [
    "</td></tr></table><script>alert(1)</script>",
    '" onload="alert(1)',
    "' onmouseover='x",
    "<img src=//evil.example/x.png>",
    "a & b < c > d",
    "&lt;script&gt;",
    "]]>",
    "<!--",
    "\x00\x07\x1b[31m",
    "pipe | and `code` and [link](javascript:alert)",
    "two\nlines",
    "käse 列 🙂",
]
LEARNS = "a model trained on that learns from values that it will not be given"
TYPICALLY = "and where it does, typically by"
MODES = ("as_served", "as_of_event", "what_if(every=1h, delay=5m)")


def difference(share: float, size: Size | None) -> FeatureDifference:
    rows = round(share * ROWS)
    return FeatureDifference(share=share, kinds=Kinds(rows // 10, 0, rows - rows // 10), size=size)


def size_of(median: float = 2.0, p95: float = 9.0, spread: float | None = 4.0) -> Size:
    return Size(rows=100, median=median, p95=p95, spread=spread, counts=(5,) * (2 * HALF_BINS))


def ages_of(first: int) -> Ages:
    counts = [0] * (len(AGE_BOUNDS) + 1)
    counts[first] = ROWS
    return Ages(rows=ROWS, percentiles=(HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR), counts=tuple(counts))


def feature_of(name: str, share: float = 0.5, *, number: bool = True, aged: bool = True) -> FeatureLeakage:
    size = size_of() if number else None
    return FeatureLeakage(
        feature=name,
        dtype="double" if number else "map<string, int64>",
        differences=(difference(share, size), difference(share / 2, size)),
        without_value=(0.25, 0.0, 0.0004),
        ages=(ages_of(0), ages_of(len(AGE_BOUNDS)), None) if aged else (None, None, None),
    )


def report_of(*features: FeatureLeakage, leaked: int = 0, name: str | None = "late_flights") -> LeakageReport:
    return LeakageReport(
        training_set="0" * 32,
        name=name,
        service="flights",
        target="sqlite:online",
        made_at=datetime(2026, 1, 4, tzinfo=UTC),
        first=datetime(2026, 1, 1, tzinfo=UTC),
        last=datetime(2026, 1, 3, tzinfo=UTC),
        rows=ROWS,
        modes=MODES,
        differing=(0, 900, 450),
        leaked_served=leaked,
        leaked_by_event=800,
        availability={"recorded": 600, "simulated": 400},
        features=features,
    )


def parsed(page: str) -> ET.Element:
    """The page as XML, which is stricter than HTML."""
    return ET.fromstring(page)  # noqa: S314 - our own page


def texts(root: ET.Element) -> list[str]:
    return ["".join(one.itertext()) for one in root.iter()]


def test_it_loads_nothing_and_runs_nothing() -> None:
    page = report_of(*(feature_of(name) for name in HOSTILE)).to_html()
    root = parsed(page)
    tags = {one.tag for one in root.iter()}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "image", "use", "form", "base", "audio"}
    assert re.search(r"https?:|url\(|@import|src=", re.sub(r"<td>.*?</td>|<h3>.*?</h3>", "", page)) is None
    for one in root.iter():
        for key, value in one.attrib.items():
            assert not key.startswith("on")
            assert key not in {"src", "xlink:href"}
            assert key != "href" or re.fullmatch(r"#f\d+", value)
    policy = next(one for one in root.iter("meta") if "http-equiv" in one.attrib)
    assert policy.attrib["content"].startswith("default-src 'none'")


def test_every_feature_is_in_it_under_its_own_name() -> None:
    root = parsed(report_of(*(feature_of(name) for name in HOSTILE)).to_html())
    cells = [one.text for one in root.iter("a")]
    cards = ["".join(one.itertext()) for one in root.iter("h3")]
    for name in HOSTILE:
        shown = re.sub("[\x00-\x08\x0b-\x1f]", "\ufffd", name)
        assert shown in cells
        assert any(card.startswith(shown) for card in cards)
    places = {one.attrib["id"] for one in root.iter("section") if "id" in one.attrib}
    assert places == {one.attrib["href"][1:] for one in root.iter("a")}


@given(st.text(), st.text())
def test_any_name_gives_a_well_formed_page(name: str, other: str) -> None:
    report = report_of(feature_of(name), name=other)
    root = parsed(report.to_html())
    assert {one.tag for one in root.iter()} == {
        one.tag for one in parsed(report_of(feature_of("plain")).to_html()).iter()
    }
    table = report.to_markdown().split("\n\n")[-1]
    assert len(table.splitlines()) == 3
    rows = [re.sub(r"\\.", "", line).count("|") for line in table.splitlines()]
    assert len(set(rows)) == 1


def test_the_summary_says_in_words_what_was_found() -> None:
    calm = report_of(feature_of("here__temp", 0.9), feature_of("sky", 0.1, number=False, aged=False))
    assert calm.summary() == [
        "As served, none of 1,000 rows uses a value that was not available when it was asked for.",
        f"Joined on event time alone, 800 rows (80.0%) would: {LEARNS}.",
        f"The feature that differs most is here__temp: in 90.0% of the rows, {TYPICALLY} 2 (0.5 standard deviations).",
        "The typical value as served was 1 h old when it was used.",
        "Published every 1h with a delay of 5m, 450 rows (45.0%) would hold other values than were served.",
        "How it is known when the values became available: recorded for 600 rows, simulated for 400 rows.",
    ]
    bad = report_of(feature_of("here__temp"), leaked=1)
    assert bad.summary()[0].startswith("As served, 1 row (0.1%) of 1,000 use")
    assert 'class="verdict bad"' in bad.to_html()
    assert 'class="verdict good"' in calm.to_html()


def test_the_table_and_the_plots_hold_the_figures() -> None:
    report = report_of(feature_of("last", 0.1), feature_of("first", 0.9))
    root = parsed(report.to_html())
    assert [one.text for one in root.iter("a")] == ["first", "last"]
    row = ["".join(cell.itertext()) for cell in next(root.iter("tbody")).iter("tr").__next__().iter("td")]
    assert row == [
        *("first", "90.0%", "2", "9", "0.5", "45.0%", "2", "9", "0.5"),
        *("25.0%", "0%", "<0.1%", "1 h", "2 h", "3 h", "4 h"),
    ]
    header = [
        text for text in texts(next(root.iter("thead"))) if text in {"by event time", "age as served", "no value"}
    ]
    assert {"by event time", "age as served", "no value"} <= set(header)
    told = [one.text or "" for one in root.iter("title")]
    assert "another value: 81.0%" in told
    assert "as served, <1m: 100% of the values" in told
    assert "by event time, 30d+: 100% of the values" in told
    assert "8.1 or more: 5 rows" in told
    assert "-9 to -8.1: 5 rows" not in told
    assert "-8.1 or less: 5 rows" in told


def test_without_numbers_and_ages_there_is_one_plot() -> None:
    root = parsed(report_of(feature_of("sky", number=False, aged=False)).to_html())
    assert len(list(root.iter("figure"))) == 1


def test_without_features_or_rows_it_is_still_a_page() -> None:
    parsed(report_of().to_html())
    empty = msgspec.structs.replace(report_of(feature_of("x", 0.0)), rows=0, first=None, last=None)
    assert "nothing to compare" in empty.to_html()
    parsed(empty.to_html())


def test_it_is_read_back_as_it_was_written() -> None:
    report = report_of(*(feature_of(name) for name in HOSTILE))
    assert msgspec.json.decode(msgspec.json.encode(report), type=LeakageReport) == report


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0%"), (1.0, "100%"), (0.00001, "<0.1%"), (0.99999, ">99.9%"), (0.5, "50.0%")]
)
def test_only_nothing_is_nothing_and_only_all_is_all(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0 s"),
        (timedelta(microseconds=5), "0 s"),
        (timedelta(milliseconds=250), "250 ms"),
        (timedelta(days=1, hours=6, minutes=59), "1 d 6 h"),
        (timedelta(days=1, minutes=59), "1 d"),
        (None, "-"),
    ],
)
def test_ages(duration: timedelta | None, text: str) -> None:
    assert age(duration) == text


def test_numbers_and_schedules() -> None:
    assert [number(one) for one in (None, 0.0, 1234567.0, 0.12345)] == ["-", "0", "1.23e+06", "0.123"]
    assert schedule_text("what_if(every=0s, delay=5m)") == "Published as a stream with a delay of 5m"
