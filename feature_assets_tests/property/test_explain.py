"""Explanations of a shop whose days are committed, corrected, emptied, failed and pushed at any time.

At any moment what is explained is what the reader answers and the loader returns, and each value follows, naively, from
the events that are listed as counted; so does what was served at an earlier instant.
"""

from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from feature_assets.serving.explanation import Explanation, Why
from feature_assets.serving.status import Status
from feature_assets_tests.explained import ASKED, HOUR, PROFILE, SPEND, Shop, require_true, row
from feature_assets_tests.histories import DAY, START


class World:
    """The shop, and what happened in it. `asked`: instants at which it was explained, outside of pushes."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.shop = Shop.in_memory()
        self.asked: list[Explanation] = []
        self.seen: Counter[object] = Counter()
        for view in (PROFILE, SPEND):
            self.shop.publish(view, self._rows(0))

    def step(self) -> None:
        """Something happens."""
        happening = self.random.choice([self.commit, self.commit, self.push, self.push, self.ask, self.wait])
        happening()

    def commit(self) -> None:
        """A day of a view changes; its verdict is known."""
        number = self.random.randint(0, 3)
        view = self.random.choice([PROFILE, SPEND])
        passed = self.random.random() > 0.15
        self.shop.commit(view, self._rows(number), day=(START + number * DAY).date(), passed=passed)

    def push(self) -> None:
        """What is due of a view. A push has an instant of its own: an answer at that would be in its interval."""
        self.shop.later(microseconds=1)
        self.shop.push(self.random.choice([PROFILE, SPEND]))

    def wait(self) -> None:
        """Time passes, also to where windows begin and end."""
        past = (self.shop.clock.now() - START) % HOUR
        self.shop.clock.advance(self.random.choice([HOUR - past, 7 * HOUR, 31 * HOUR, 70 * HOUR]))

    def ask(self) -> None:
        """Explain, now."""
        self.shop.later(microseconds=1)
        explained = self.shop.explain()
        require_true(self.shop, explained)
        self.asked.append(explained)
        self._see(explained)

    def look_back(self) -> None:
        """What was explained then, from the history alone: the same values and reasons."""
        self.shop.later(hours=1)
        for then in self.asked:
            again = self.shop.explain(as_of=then.as_of)
            assert again.source == "history"
            require_true(self.shop, again)
            for one, other in zip(then.features, again.features, strict=True):
                assert (one.name, one.value, one.status) == (other.name, other.value, other.status)
                assert one.event_at == other.event_at
                if one.window is not None and other.window is not None:
                    assert (one.window.spans, one.window.events) == (other.window.spans, other.window.events)
            self._see(again)

    def _see(self, explained: Explanation) -> None:
        self.seen.update(("status", one.status) for one in explained.features)
        for view in explained.views.values():
            assert view.events is not None
            self.seen.update({("why", why): count for why, count in view.events.counts.items()})
            assert sum(view.events.counts.values()) == view.events.total

    def _rows(self, number: int) -> list[dict[str, object]]:
        rows = []
        for sequence in range(self.random.choice([0, 1, 4])):
            hours = number * 24 + self.random.choice([0, 5, 11.5, 23.999])
            late = self.random.choice([0, 0, 30])
            values = {
                "plan": self.random.choice([None, "free", "gold"]),
                "score": self.random.choice([None, 0.5, 2.0]),
                "visits": self.random.choice([None, 3]),
                "amount": self.random.choice([None, 0.1, 0.2, 5.0]),
                "shop": self.random.choice([None, "a", "b", "c"]),
            }
            user = self.random.choice([ASKED["user_id"], "bob"])
            rows.append(row(str(user), hours, late=late, sequence=sequence, **values))
        return rows


def lived(seed: int, steps: int = 20) -> World:
    """A world after some steps, looked back at."""
    world = World(Random(seed))
    for _ in range(steps):
        world.step()
    world.ask()
    world.look_back()
    return world


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_an_explanation_is_what_is_served_and_trained_on_and_follows_from_its_events(seed: int) -> None:
    lived(seed)


def test_that_everything_happened() -> None:
    seen: Counter[object] = Counter()
    for seed in range(12):
        seen += lived(seed).seen
    statuses = {
        Status.DEFAULTED,
        Status.PRESENT,
        Status.NULL,
        Status.NOT_FOUND,
        Status.EXPIRED,
        Status.STALE,
        Status.OVERFLOW,
    }
    reasons = {
        Why.COUNTED,
        Why.HELD_BACK,
        Why.FUTURE,
        Why.LATE,
        Why.NOT_AVAILABLE,
        Why.SUPERSEDED,
        Why.EXPIRED,
        Why.OLDER,
    }
    assert {("status", one) for one in statuses} | {("why", one) for one in reasons} <= set(seen)
