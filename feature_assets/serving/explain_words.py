"""Where a value comes from, in a few words.

Invariant: the words follow from what was found; nothing is looked up for them.
"""

from feature_assets.serving.explain_view import Looking
from feature_assets.serving.explanation import WindowOf
from feature_assets.serving.status import Status


def origin_of(status: Status, looking: Looking | None, window: WindowOf | None) -> str:
    """One line: which row, or how many tiles and events, of which commit."""
    if looking is None:
        return "nothing: an input or the function failed" if status.is_unknown else "computed at the request"
    if status.is_unknown:
        return "nothing: " + (looking.failure or "the history cannot be read").splitlines()[0]
    if looking.key is None:
        return "nothing: the request has no key"
    if window is not None:
        return _of_window(window, looking)
    winner = looking.winner
    if winner is not None:
        return f"the row of {winner.event_at:%Y-%m-%d %H:%M} (day {winner.partition}, commit {winner.commit_seq})"
    item = looking.item
    if item is not None and item.batch is not None and item.batch.row is not None:
        return f"the item at commit {item.cut.n}"
    return "no row"


def _of_window(window: WindowOf, looking: Looking) -> str:
    events = "" if window.events is None else f"{window.events} {_plural('event', window.events)} "
    tiles = "" if window.tiles is None else f"in {window.tiles} {_plural('tile', window.tiles)} "
    of_item = f"at commit {looking.commit}" if looking.item is not None else ""
    return f"{events}{tiles}{of_item}".strip() or "the item"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
