"""How many are let in, who is next, and what becomes of those who are not."""

import asyncio
from contextlib import ExitStack
from threading import Thread

import pytest

from feature_assets.errors import OverloadedError
from feature_assets.serving.admission import Admission, AdmissionOptions

LONG = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Door:
    """An admission with one place, which the test holds; threads stand in line before it."""

    def __init__(self, **options: float) -> None:
        self.clock = Clock()
        chosen = AdmissionOptions(**{"concurrency": 1, **options})  # type: ignore[arg-type] # of whole numbers too
        self.admission = Admission(chosen, monotonic=self.clock, chance=lambda: 0.5)
        self.inside = ExitStack()
        self.inside.enter_context(self.admission.admitted(LONG))
        self.order: list[str] = []
        self.threads: list[Thread] = []

    def stand(self, name: str, seconds: float = LONG) -> None:
        before = self.admission.stats()

        def enter() -> None:
            try:
                with self.admission.admitted(seconds):
                    self.order.append(name)
            except OverloadedError:
                self.order.append(f"not {name}")

        thread = Thread(target=enter, daemon=True)
        thread.start()
        self.threads.append(thread)
        while (now := self.admission.stats()).waiting + now.shed == before.waiting + before.shed:
            thread.join(0.001)

    def open(self) -> list[str]:
        self.inside.close()
        for thread in self.threads:
            thread.join(LONG)
        return self.order


def test_the_oldest_is_next_in_a_short_burst() -> None:
    door = Door()
    for name in "abc":
        door.stand(name)
    assert door.open() == ["a", "b", "c"]
    stats = door.admission.stats()
    assert (stats.admitted, stats.waited, stats.shed, stats.running, stats.waiting) == (4, 3, 0, 0, 0)


def test_the_newest_is_next_once_the_queue_has_not_been_empty_for_a_while() -> None:
    door = Door(crowded=0.1)
    for name in "abc":
        door.stand(name)
        door.clock.now += 0.05
    assert door.open() == ["c", "b", "a"]


def test_of_a_full_queue_the_oldest_goes() -> None:
    door = Door(waiting=2)
    for name in "abcd":
        door.stand(name)
    door.threads[0].join(LONG)
    door.threads[1].join(LONG)
    assert sorted(door.order) == ["not a", "not b"]
    assert door.open()[2:] == ["c", "d"]


def test_who_cannot_begin_by_his_share_of_time_is_not_let_in() -> None:
    door = Door(start_share=0.5)
    door.stand("late", 10.0)
    door.stand("patient", 60.0)
    door.clock.now += 6.0
    assert sorted(door.open()) == ["not late", "patient"]
    assert door.admission.stats().shed == 1


def test_nobody_waits_past_his_share_even_if_no_place_becomes_free() -> None:
    admission = Admission(AdmissionOptions(concurrency=1), chance=lambda: 0.5)
    with (
        admission.admitted(LONG),
        pytest.raises(OverloadedError, match="1 are being answered"),
        admission.admitted(0.02),
    ):
        pass
    assert admission.stats().waiting == 0
    none = Admission(AdmissionOptions(concurrency=1, waiting=0))
    with none.admitted(LONG), pytest.raises(OverloadedError), none.admitted(LONG):
        pass


def test_a_place_is_free_again_whatever_happened_in_it() -> None:
    admission = Admission(AdmissionOptions(concurrency=1, waiting=0))
    for _ in range(3):
        with pytest.raises(RuntimeError), admission.admitted(LONG):
            raise RuntimeError
    assert admission.stats().running == 0


def test_threads_and_loops_share_the_places() -> None:
    async def enter() -> None:
        admission = Admission(AdmissionOptions(concurrency=1))
        with admission.admitted(LONG):
            waiting = asyncio.create_task(come(admission, LONG))
            given_up = asyncio.create_task(come(admission, 0.01))
            cancelled = asyncio.create_task(come(admission, LONG))
            with pytest.raises(OverloadedError):
                await given_up
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert admission.stats().waiting == 1
        await waiting
        assert (admission.stats().running, admission.stats().shed) == (0, 2)

    async def come(admission: Admission, seconds: float) -> None:
        async with admission.admitted_async(seconds):
            pass

    asyncio.run(enter())


def test_who_is_cancelled_just_as_he_is_let_in_passes_his_place_on() -> None:
    async def enter() -> None:
        admission = Admission(AdmissionOptions(concurrency=1))
        with admission.admitted(LONG):
            asked = asyncio.create_task(come(admission))
            while admission.stats().waiting == 0:  # noqa: ASYNC110 - nothing else is told of it
                await asyncio.sleep(0)
        # Let in by now, and not yet told so.
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert admission.stats().running == 0

    async def come(admission: Admission) -> None:
        async with admission.admitted_async(LONG):
            pass

    asyncio.run(enter())


# --------------------------------------------------------------------------------------------------------- rate limits
