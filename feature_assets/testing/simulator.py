"""The simulator: a seeded event loop over the product's own write path, with everything going wrong that can.

    python -m feature_assets.testing.simulator --requests 100000 --seed 1 --store memory --view both

Invariant: a run is a pure function of its seed and design. Processes are killed, also in the middle of a batch, or
left asleep and woken when a successor has long taken over; the store throttles, loses answers, applies late and leaves
keys out of reads; commits are delivered twice, partitions corrected, verdicts fail, a table is lost and filled anew.
A log is read again from anywhere; a second version begins with what the logs hold and takes over from the first.
Requests are asked all the while, and `checks` compares every answer with the kernel over its cut.

There are two such worlds: of a view of rows, and of a view of aggregates over windows, which batch rows and streams
feed alike.
"""

import argparse
import itertools
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from feature_assets.online.memory import MemoryStore
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.online.store import OnlineStore
from feature_assets.testing.actors import Actor, actors_of, version_actors
from feature_assets.testing.checks import Checks, Violation
from feature_assets.testing.purchases import Purchases
from feature_assets.testing.subject import HOUR, SECOND, Balances, Subject
from feature_assets.testing.world import Design, World

SUBJECTS: Mapping[str, Subject] = {"rows": Balances(), "windows": Purchases()}
"""The worlds, by what `--view` calls them."""
TURNS = 1000
"""Turns in which things go wrong, per seed; in each, a few actors get a step."""
_STEPS_PER_TURN = 3
_SETTLING_STEPS = 30_000
_REQUEST_SHARE = 0.6
_KILLED, _PUT_TO_SLEEP, _WOKEN = 0.015, 0.015, 0.015


class KilledError(BaseException):
    """The process that is running dies here. Not an `Exception`: nothing may catch it, as nothing catches `kill -9`."""


@dataclass(slots=True)
class Simulation:
    """One seed's run."""

    seed: int
    design: Design = field(default_factory=Design)
    turns: int = TURNS
    world: World = field(init=False)
    checks: Checks = field(init=False)
    _make: dict[str, Callable[[], Actor]] = field(init=False)
    _live: dict[str, Actor] = field(init=False)
    _asleep: list[Actor] = field(default_factory=list)
    _running: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = World(self.seed, self.design, self._between_items)
        self.checks = Checks(self.world)
        self._make = dict(actors_of(self.world))
        self._live = {name: make() for name, make in self._make.items()}

    def run(self) -> Checks:
        """Let everything go wrong for a while, then let it settle, and check what can only be checked then."""
        for turn in range(self.turns):
            if turn == self.turns // 3:
                self._introduce(SECOND)
            self.world.clock.tick(self.world.rng.choice([0, 0, HOUR]))
            self.world.store.deliver()
            for _ in range(_STEPS_PER_TURN):
                self._give_a_step()
            for _ in range(self.design.subject.requests):
                if self.world.rng.random() < _REQUEST_SHARE:
                    self.checks.request()
        self._settle()
        self.checks.check_answers()
        self.checks.audit()
        self.world.store.close()
        return self.checks

    def _introduce(self, version: str) -> None:
        self.world.add_version(version)
        actors = version_actors(self.world, version)
        self._make.update(actors)
        self._live.update({name: make() for name, make in actors.items()})

    def _give_a_step(self) -> None:
        """Somebody goes on, is killed, or is put to sleep with a successor in its place."""
        rng = self.world.rng
        name = rng.choice(list(self._live))
        draw = rng.random()
        if draw < _KILLED + _PUT_TO_SLEEP and name.startswith(("worker", "pusher", "materializer")):
            if draw >= _KILLED:
                self._asleep.append(self._live[name])
            self._live[name] = self._make[name]()
            return
        self._step(name)
        if self._asleep and rng.random() < _WOKEN:
            self._wake(self._asleep.pop(rng.randrange(len(self._asleep))))

    def _step(self, name: str) -> None:
        self._running.append(name)
        try:
            next(self._live[name])
        except KilledError:
            self._live[name] = self._make[name]()
        finally:
            self._running.pop()

    def _wake(self, sleeper: Actor) -> None:
        """It goes on as if nothing had happened, for some steps, and dies."""
        self._running.append("sleeper")
        try:
            for _ in range(self.world.rng.randint(1, 40)):
                next(sleeper)
        except KilledError:
            return
        finally:
            self._running.pop()

    def _between_items(self) -> None:
        """In the middle of a batch: a reader looks, somebody else gets a turn, or the writer dies."""
        draw = self.world.rng.random()
        if draw < 0.10:
            self.checks.request()
        elif draw < 0.16 and len(self._running) == 1:
            self._step(self.world.rng.choice([name for name in self._live if name not in self._running]))
        elif draw < 0.165 and not self.world.calm:
            raise KilledError

    def _settle(self) -> None:
        """Nobody makes data any more and nobody dies, but the store goes on failing."""
        self._live = {name: actor for name, actor in self._live.items() if name.startswith(self._needed_to_settle())}
        self.world.calm = True
        names = sorted(self._live)
        for step in range(_SETTLING_STEPS):
            self.world.clock.tick(HOUR if self.world.rng.random() < 0.005 else 0)
            self.world.store.deliver()
            self._step(names[step % len(names)])
            if step % 40 == 0 and self._settled():
                break
        self.world.store.deliver(everything=True)

    def _needed_to_settle(self) -> tuple[str, ...]:
        filled = [f"materializer {version}" for version in self.world.sides if self.world.covering(version)]
        return ("worker", "pusher", "checker", *filled)

    def _settled(self) -> bool:
        world = self.world
        streamed = [version for version in world.sides if self.design.subject.is_streamed(version)]
        if any(
            len(log) > world.offsets_of(version).committed(place)
            for version in streamed
            for place, log in world.truth.logs.items()
        ):
            return False
        return all(world.is_pushed(version) for version in world.sides)


@dataclass(slots=True)
class Totals:
    """The sum over many runs. `inside`: answers within a write interval, where the wall clock decides nothing."""

    seeds: int = 0
    answers: int = 0
    inside: int = 0
    unanswered: int = 0
    loading: int = 0
    violations: list[Violation] = field(default_factory=list)

    def add(self, checks: Checks) -> None:
        """Take one run into account."""
        self.seeds += 1
        self.answers += checks.answered
        self.inside += checks.inside
        self.unanswered += checks.unanswered
        self.loading += checks.loading
        self.violations += checks.violations

    def kinds(self) -> Counter[str]:
        """How many violations of each kind."""
        return Counter(violation.kind for violation in self.violations)


def simulate(requests: int, *, seed: int = 1, design: Design | None = None) -> Totals:
    """Run seeds, from `seed` on, until so many requests are answered. The default design has every guard."""
    totals, design = Totals(), design or Design()
    while totals.answers < requests:
        totals.add(Simulation(seed + totals.seeds, design).run())
    return totals


def caught(design: Design, *, seeds: Sequence[int]) -> Totals:
    """Run seeds until one has a violation: how a design without a guard is caught, if it is."""
    totals = Totals()
    for seed in seeds:
        totals.add(Simulation(seed, design).run())
        if totals.violations:
            break
    return totals


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns 1 if anything was violated."""
    parser = argparse.ArgumentParser(description="Run the write protocol through everything that can go wrong.")
    parser.add_argument("--requests", type=int, default=100_000, help="how many answers to check")
    parser.add_argument("--seed", type=int, default=1, help="the first seed; each run takes the next")
    parser.add_argument("--store", choices=["memory", "sqlite"], default="memory", help="what keeps the items")
    parser.add_argument("--view", choices=[*SUBJECTS, "both"], default="both", help="rows, windows, or half of each")
    asked = parser.parse_args(arguments)
    views = list(SUBJECTS) if asked.view == "both" else [asked.view]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        stores = MemoryStore if asked.store == "memory" else sqlite_stores(Path(folder))
        for view in views:
            design = Design(store=stores, subject=SUBJECTS[view])
            totals = simulate(asked.requests // len(views), seed=asked.seed, design=design)
            sys.stdout.write(f"{view}: {summary(totals)}")
            failed = failed or bool(totals.violations)
    return 1 if failed else 0


def summary(totals: Totals) -> str:
    """The totals, for people."""
    share = totals.inside / totals.answers if totals.answers else 0.0
    lines = [
        f"{totals.seeds} seeds, {totals.answers} answers, {share:.0%} inside a write interval",
        f"{len(totals.violations)} violations",
        f"{totals.unanswered} reads that the store left out, {totals.loading} of a version that did not serve yet",
        *(
            f"{each.kind}: seed {each.seed} at {each.at}, {each.version}: {each.detail}"
            for each in totals.violations[:10]
        ),
    ]
    return "\n".join(lines) + "\n"


def sqlite_stores(folder: Path) -> Callable[[], OnlineStore]:
    """Makes one SQLite store after the other, each in a file of its own."""
    numbers = itertools.count()
    return lambda: SQLiteStore(folder / f"{next(numbers)}.sqlite")


if __name__ == "__main__":
    raise SystemExit(main())
