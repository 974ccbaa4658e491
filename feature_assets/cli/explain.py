"""`explain`: why the features of one entity are what they are.

Invariant: what is printed is what `FeatureStore.explain` says, for people: one line per feature, then view by view.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_assets.cli.data import request_of
from feature_assets.cli.options import Json, load_project, open_store
from feature_assets.cli.output import out, show_json, show_table

if TYPE_CHECKING:
    from feature_assets.serving.explanation import (
        Event,
        Explanation,
        FeatureExplained,
        OnDemandExplained,
        Tile,
        ViewExplained,
        WindowOf,
    )

_BRIEF = 3
"""Rows of each kind that are listed for each view, where all features are explained."""
_IN_FULL = 8
"""The same, where some are."""
_WIDEST = 60
"""Characters of a value in a table."""


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(explain)


def explain(
    service: Annotated[str, typer.Argument(help="The feature service.")],
    values: Annotated[list[str], typer.Argument(help="key=value for every key and request field.")],
    *,
    as_of: Annotated[
        str | None, typer.Option(help="An instant with its zone, e.g. 2026-01-31T12:00:00Z; default: now.")
    ] = None,
    feature: Annotated[list[str] | None, typer.Option(help="Explain this feature only, in full. Repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Say why features are what they are: the item, the rows behind it, windows and tiles, and what training has."""
    from feature_assets.serving.explanation import Limits

    project = load_project()
    chosen = project.service(service)
    at = None if as_of is None else _instant(as_of)
    asked = request_of(chosen, values)
    shown = _IN_FULL if feature else _BRIEF
    limits = Limits() if as_json else Limits(events=shown, tiles=2 * shown)
    with open_store(project) as store:
        found = store.explain(asked, service=service, as_of=at, features=feature or (), limits=limits)
    if as_json:
        show_json(found)
        return
    _show(found)


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"--as-of {text!r} is no instant, e.g. 2026-01-31T12:00:00Z") from error


def _show(found: "Explanation") -> None:
    asked = " ".join(f"{name}={value}" for name, value in found.asked.items())
    _say(f"{found.service} of {asked} at {_time(found.as_of)} UTC")
    show_table(
        "",
        ("feature", "value", "status", "age", "where from", "training has"),
        [
            (one.name, _value(one.value), one.status.value, _duration(one.age), one.origin, _agreement(one))
            for one in found.features
        ],
    )
    _say(found.note)
    for one in found.features:
        if one.offline.cause is not None and found.source == "online":
            _say(f"{one.name}: {one.offline.cause.value}: {one.offline.reason}")
    for prefix, view in found.views.items():
        _show_view(prefix, view, [one for one in found.features if one.of == prefix])
    for prefix, computed in found.on_demand.items():
        _show_on_demand(prefix, computed)


def _agreement(one: "FeatureExplained") -> str:
    if one.offline.agrees is None:
        return "-"
    return "the same" if one.offline.agrees else str(_value(one.offline.value))


def _show_view(prefix: str, view: "ViewExplained", features: "Sequence[FeatureExplained]") -> None:
    key = " ".join(f"{name}={value}" for name, value in view.keys.items())
    out.print(f"\n[bold]{prefix}[/]", end="")
    _say(f": view {view.view} of {key}")
    for name, text in _facts(view).items():
        _say(f"  {name:<9} {text}")
    windows = [(one, one.window) for one in features if one.window is not None]
    if windows:
        columns = ("feature", "function", "from", "to", "hop", "tiles", "events")
        show_table("", columns, [_window(one.name, window) for one, window in windows])
    merged = [tile for tile in view.tiles if tile.windows]
    if merged:
        names = list(dict.fromkeys(name for tile in merged for name in tile.states))
        show_table(
            f"Tiles: {len(merged)} of {view.tiles_total}, the newest that are in a window; what each alone would give",
            ("from", "to", "section", "in windows", "counts", *names),
            [_tile(tile, names) for tile in merged],
        )
    if view.events is not None and view.events.listed:
        names = list(view.events.listed[0].values)
        show_table(
            f"Rows of the history: {len(view.events.listed)} of {view.events.total}",
            ("event_at", "arrived", "available", "day: commit", "why", *names),
            [_event(one, names) for one in view.events.listed],
        )


def _facts(view: "ViewExplained") -> Mapping[str, str]:
    code, facts = view.code, dict[str, str]()
    own = "the code's" if view.is_current else f"not the code's, which is {code.version}"
    answered = f"none answers; the code's is {code.version}" if view.answered is None else f"{view.answered} ({own})"
    transform = "" if code.transform == "sql" else f", transform at {_path(code.transform_at)}"
    facts["version"] = f"{answered}, defined at {_path(code.defined_at)}{transform}"
    if view.freshness is not None and view.freshness.complete_through is not None:
        fresh = view.freshness
        promise = "" if fresh.objective is None else f", at most {_duration(fresh.objective)} is promised"
        stale = ": stale" if fresh.stale else ""
        facts["complete"] = f"through {_time(fresh.complete_through)}, {_duration(fresh.behind)} ago{promise}{stale}"
    if view.ttl is not None:
        facts["ttl"] = str(_duration(view.ttl))
    item = view.item
    if item is not None and item.found and item.seq:
        sections = ", ".join(
            f"{one.kind} {one.bytes:,} bytes" + ("" if one.sent_at is None else f" sent {_time(one.sent_at)}")
            for one in item.sections
        )
        fences = "".join(f", {place} up to {offset}" for place, offset in item.fences.items())
        writes = "written once" if item.seq == 1 else f"written {item.seq} times"
        facts["item"] = f"{item.table}, {writes}, {item.bytes:,} bytes, cut at commit {item.n}{fences}"
        facts["sections"] = sections
    elif item is not None and not item.failure:
        facts["item"] = f"{item.table} has none"
    if item is not None and item.failure:
        facts["failed"] = item.failure
    if view.failure:
        facts["failure"] = view.failure
    if view.history_failure:
        facts["history"] = view.history_failure
    if view.events is not None:
        facts["rows"] = _counts(view)
    return facts


def _counts(view: "ViewExplained") -> str:
    from feature_assets.serving.explain_meanings import WHYS
    from feature_assets.serving.explanation import Why

    events = view.events
    if events is None or not events.total:
        return "none in the history"
    each = ", ".join(f"{WHYS[Why(why)].partition(':')[0]} {count:,}" for why, count in events.counts.items())
    part = "" if events.complete else " (not all of them were looked at)"
    return f"{events.total:,} since {events.since}{part}: {each}"


def _window(name: str, window: "WindowOf") -> tuple[object, ...]:
    first, last = window.spans[-1], window.spans[0]
    of = window.function if window.column is None else f"{window.function} of {window.column}"
    until = "whatever is visible" if last.end is None else _time(last.end)
    since = "the beginning" if first.start is None else _time(first.start)
    return (name, of, since, until, _duration(window.hop), window.tiles, window.events)


def _tile(tile: "Tile", names: Sequence[str]) -> tuple[object, ...]:
    counts = ", ".join(f"{name} {count:,}" for name, count in tile.counts.items())
    ends = ("all time", None) if tile.start is None else (_time(tile.start), _time(tile.end))
    return (*ends, tile.section, ", ".join(tile.windows), counts, *(_value(tile.states[name]) for name in names))


def _event(event: "Event", names: Sequence[str]) -> tuple[object, ...]:
    from feature_assets.serving.explain_meanings import WHYS

    times = (_time(event.event_at), _time(event.arrived_at), _time(event.available_at))
    values = (_value(event.values[name]) for name in names)
    return (*times, f"{event.partition}: {event.commit_seq}", WHYS[event.why].partition(":")[0], *values)


def _show_on_demand(prefix: str, computed: "OnDemandExplained") -> None:
    out.print(f"\n[bold]{prefix}[/]", end="")
    _say(f": computed at the request, as of {_time(computed.as_of)}, by {_path(computed.code.transform_at)}")
    for name, value in (computed.request | computed.inputs).items():
        _say(f"  {name} = {_value(value)}")
    if computed.failure:
        _say(f"  failed: {computed.failure}")


def _say(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)


def _value(value: object) -> object:
    """A value as a cell shows it: what is nested as text, what is long cut off."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


def _time(at: datetime | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else str(timedelta(seconds=int(seconds)))


def _path(place: str) -> str:
    """A place in code, from the current folder on if it is under it."""
    folder = f"{Path.cwd()}/"
    return place.removeprefix(folder)
