"""The client for event loops: the same answers, nothing blocked, nothing left behind."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event, current_thread
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_assets.definition.on_demand import OnDemandView
from feature_assets.definition.view import Feature
from feature_assets.errors import InputError, OverloadedError, StoreUnreachableError, UnknownNameError
from feature_assets.online.memory import MemoryStore
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.online.store import ReadResult
from feature_assets.serving.admission import AdmissionOptions
from feature_assets.serving.async_client import AsyncOnlineClient
from feature_assets.serving.client import ClientOptions, OnlineClient, Question
from feature_assets_tests.histories import view_of
from feature_assets_tests.published import Published, at, project_of

UA = [{"carrier": "UA"}]
LONG = 30.0


class Held(MemoryStore):
    """A store whose reads wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = Event()
        self.go.set()
        self.reached = Event()
        self.reads = 0

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        self.reads += 1
        self.reached.set()
        assert self.go.wait(LONG)
        return super().read(table, keys, consistent=consistent, deadline=deadline)


def client_over(store: MemoryStore, **options: Any) -> OnlineClient:  # noqa: ANN401 - as the options have it
    view = view_of("carriers", {"carrier": pa.string()}, {"delay": pa.float64()})
    world = Published(store)
    world.publish(view, [{"carrier": "UA", "event_at": at(3), "delay": 1.5}])
    chosen = ClientOptions(cache=None, **options)
    return OnlineClient.over(project_of(view), store, world.ledger, world.clock, options=chosen)


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop go on until it holds."""
    while not holds():  # noqa: ASYNC110 - what is waited for happens in other threads, and sets no event
        await asyncio.sleep(0)


def test_it_answers_as_the_client_does() -> None:
    async def ask() -> None:
        with client_over(MemoryStore()) as client:
            async with AsyncOnlineClient(client) as features:
                answers = await asyncio.gather(*(features.get(UA, service="it") for _ in range(20)))
                assert [answer.to_pylist() for answer in answers] == [client.get(UA, service="it").to_pylist()] * 20
                with pytest.raises(InputError, match="deadline"):
                    await features.get(UA, service="it", deadline=0)
                admission = features.stats().admission
                assert admission is not None
                assert (admission.running, admission.waiting, admission.shed) == (0, 0, 0)

    asyncio.run(ask())


def test_the_loop_goes_on_while_the_store_is_waited_for() -> None:
    async def ask() -> None:
        store = Held()
        with client_over(store) as client:
            async with AsyncOnlineClient(client) as features:
                store.go.clear()
                asked = asyncio.create_task(features.get(UA, service="it", deadline=LONG))
                # This runs in the loop, and lets go what the request waits for.
                await asyncio.to_thread(store.reached.wait, LONG)
                assert not asked.done()
                store.go.set()
                assert (await asked).to_pylist() == [{"carriers__delay": 1.5}]

    asyncio.run(ask())


def test_what_is_cancelled_holds_its_place_until_its_work_has_ended() -> None:
    async def ask() -> None:
        store = Held()
        with client_over(store, guard=None, admission=AdmissionOptions(concurrency=1, waiting=1)) as client:
            async with AsyncOnlineClient(client) as features:
                store.go.clear()
                store.reached.clear()
                asked = asyncio.create_task(features.get(UA, service="it", deadline=LONG))
                await asyncio.to_thread(store.reached.wait, LONG)
                waiting = asyncio.create_task(features.get(UA, service="it", deadline=LONG))
                asked.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asked
                admission = client.admission
                assert admission is not None
                assert admission.stats().running == 1
                # Who is cancelled while he waits leaves the queue.
                await until(lambda: admission.stats().waiting == 1)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert admission.stats().waiting == 0
                store.go.set()
                await until(lambda: admission.stats().running == 0)
                assert (await features.get(UA, service="it", deadline=LONG)).to_pylist() == [{"carriers__delay": 1.5}]

    asyncio.run(ask())


def test_what_has_no_answer_long_after_its_deadline_is_given_up() -> None:
    async def ask() -> None:
        store = Held()
        with client_over(store, guard=None) as client:
            features = AsyncOnlineClient(client, grace=0.01)
            store.go.clear()
            with pytest.raises(StoreUnreachableError, match="no answer within"):
                await features.get(UA, service="it", deadline=0.01)
            store.go.set()
            await features.close()
            with pytest.raises(OverloadedError, match="closed"):
                await features.get(UA, service="it", deadline=LONG)

    asyncio.run(ask())


def test_in_the_loop_is_answered_what_waits_for_nobody(tmp_path: Path) -> None:
    view = view_of("carriers", {"carrier": pa.string()}, {"delay": pa.float64()})
    store = SQLiteStore(tmp_path / "online.sqlite")
    world = Published(store)
    world.publish(view, [{"carrier": "UA", "event_at": at(3), "delay": 1.5}])
    twice = OnDemandView("twice", [], ["carriers__delay"], function=doubled, features=[Feature("delay", pa.float64())])

    async def ask() -> None:
        here = current_thread().name

        async def thread_of(features: AsyncOnlineClient) -> str:
            answer, thread = await features.answered(Question(UA, "it"), lambda answer: (answer, current_thread().name))
            assert answer.to_pylist()[0]["carriers__delay"] == 1.5
            return thread

        with OnlineClient.over(project_of(view), store, world.ledger, world.clock) as client:
            features = AsyncOnlineClient(client, in_loop=True)
            # Which version serves is asked of the ledger: that may take its time.
            assert await thread_of(features) != here
            assert await asyncio.gather(*(thread_of(features) for _ in range(20))) == [here] * 20
            world.later(minutes=1)
            assert await thread_of(features) != here
            assert await thread_of(features) == here
            with pytest.raises(UnknownNameError):
                await features.get(UA, service="its")
            await features.close()
            async with AsyncOnlineClient(client) as beside:
                assert await thread_of(beside) != here
        with OnlineClient.over(project_of(view, twice), store, world.ledger, world.clock) as client:
            async with AsyncOnlineClient(client, in_loop=True) as features:
                # What a project computes by itself may take its time as well.
                assert here not in {await thread_of(features), await thread_of(features)}

    asyncio.run(ask())
    store.close()


def doubled(columns: Mapping[str, pa.Array], as_of: pa.Array) -> dict[str, pa.Array]:
    del as_of
    return {"delay": pc.multiply(columns["carriers__delay"], 2.0)}
