"""What the items of several views hold, as values: each view by its reading, and those that are alike at once."""

from collections.abc import Hashable, Sequence

from feature_assets.online.item import Body
from feature_assets.serving.lookup import Reading, Values
from feature_assets.serving.stages import Stages
from feature_assets.serving.window_values import WindowValues, values_together


def values_of(
    asked: Sequence[tuple[Reading, Sequence[Body]]], as_of: int, stages: Stages | None = None
) -> list[Values]:
    """The values of each view's items that are known, in order. Times in microseconds."""
    alike: dict[Hashable, list[int]] = {}
    for place, (reading, _) in enumerate(asked):
        alike.setdefault(reading.alike if isinstance(reading, WindowValues) else place, []).append(place)
    found: dict[int, Values] = {}
    for places in alike.values():
        readings = [reading for reading, _ in (asked[place] for place in places) if isinstance(reading, WindowValues)]
        if len(readings) > 1:
            items = [asked[place][1] for place in places]
            found.update(zip(places, values_together(readings, items, as_of, stages), strict=True))
        else:
            reading, mine = asked[places[0]]
            found[places[0]] = reading.values(mine, as_of, stages)
    return [found[place] for place in range(len(asked))]
