"""What the options of a client put between its reader and a store, and what that does to an answer."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feature_assets.errors import OverloadedError, StoreUnreachableError
from feature_assets.online.memory import MemoryStore
from feature_assets.online.sqlite import SQLiteStore
from feature_assets.online.store import ReadResult
from feature_assets.serving.admission import AdmissionOptions
from feature_assets.serving.answer import Answer
from feature_assets.serving.breaker import BreakerOptions
from feature_assets.serving.client import ClientOptions, OnlineClient
from feature_assets.serving.guard import GuardOptions
from feature_assets.serving.item_cache import CacheOptions
from feature_assets.serving.layers import layers_over
from feature_assets.serving.reads import ReadOptions, StoreReads
from feature_assets.serving.status import Status
from feature_assets_tests.histories import view_of
from feature_assets_tests.published import Published, at, project_of
from feature_assets_tests.unit.test_online_client import Listening

UA = [{"carrier": "UA"}]
PATIENT: dict[str, Any] = {"deadline": 60.0, "cache": CacheOptions(max_age=600.0)}


class Failing(MemoryStore):
    """A store that can be told to fail."""

    down = False
    reads = 0

    def read(
        self, table: str, keys: Sequence[bytes], *, consistent: bool = False, deadline: float | None = None
    ) -> list[ReadResult]:
        self.reads += 1
        if self.down:
            raise StoreUnreachableError("the store is down")
        return super().read(table, keys, consistent=consistent, deadline=deadline)


def client_over(
    store: Failing,
    *,
    freshness: timedelta | None = None,
    **options: Any,  # noqa: ANN401 - as the options have it
) -> tuple[OnlineClient, Published]:
    view = view_of("carriers", {"carrier": pa.string()}, {"delay": pa.float64()}, freshness=freshness)
    world = Published(store)
    world.publish(view, [{"carrier": "UA", "event_at": at(3), "delay": 1.5}])
    # The push has read, too.
    store.reads = 0
    chosen = ClientOptions(**{**PATIENT, **options})
    return OnlineClient.over(project_of(view), store, world.ledger, world.clock, options=chosen), world


def values(answer: Answer) -> tuple[object, Status]:
    return answer.to_pylist()[0]["carriers__delay"], answer.status["carriers__delay"][0]


def test_a_client_without_layers_reads_as_a_reader_does() -> None:
    store = Failing()
    client, _ = client_over(store, cache=None, guard=None, admission=None, remembered_seqs=0)
    for _ in range(3):
        assert values(client.get(UA, service="it")) == (1.5, Status.PRESENT)
    assert store.reads == 3
    stats = client.stats()
    assert (stats.admission, stats.cache, stats.guard, stats.monotonic) == (None, None, None, None)
    client.close()


def test_what_is_remembered_is_answered_while_the_store_is_down_and_says_its_age() -> None:
    store = Failing()
    # However slow the machine is, what fails here fails within the window.
    client, _ = client_over(store, guard=GuardOptions(breaker=BreakerOptions(window=600.0)))
    with client:
        assert client.get(UA, service="it").meta["carriers"].cached_for == [timedelta(0)]
        store.down = True
        answer = client.get(UA, service="it")
        assert values(answer) == (1.5, Status.PRESENT)
        assert answer.meta["carriers"].cached_for[0] > timedelta(0)
        # Anew, or another one: unknown, and never null without a reason.
        assert values(client.get(UA, service="it", consistent=True)) == (None, Status.ERROR)
        assert values(client.get([{"carrier": "DL"}], service="it")) == (None, Status.ERROR)
        for _ in range(20):
            answer = client.get(UA, service="it", max_age=timedelta(0))
        assert "circuit breaker is open" in answer.failures["carriers"]
        assert values(client.get(UA, service="it")) == (1.5, Status.PRESENT)
        assert store.reads < 20
        stats = client.stats()
        assert stats.guard is not None
        assert stats.guard.opened == 1
        assert stats.cache is not None
        assert stats.cache.hits >= 2


def test_a_push_that_is_known_of_is_not_hidden_by_what_is_remembered() -> None:
    store = Failing()
    client, world = client_over(store, freshness=timedelta(days=2))
    view = client.services["it"].views[0]
    with client:
        first = client.get(UA, service="it")
        world.later(hours=24)
        world.commit(view, [{"carrier": "UA", "event_at": at(30), "delay": 2.5}], partition=at(30).date())
        world.push(view)
        # The watermark is read again by now, also by a request for somebody else.
        client.get([{"carrier": "DL"}], service="it")
        second = client.get(UA, service="it")
        assert [values(first)[0], values(second)[0]] == [1.5, 2.5]
        before, after = (one.meta["carriers"].complete_through for one in (first, second))
        assert before is not None
        assert after is not None
        assert after > before


def test_too_much_is_refused_and_observers_are_told() -> None:
    store, listening = Failing(), Listening()
    made, world = client_over(store)
    options = ClientOptions(admission=AdmissionOptions(concurrency=1, waiting=0))
    client = OnlineClient(
        project_of(made.services["it"].views[0]),
        world.reader(made.services["it"].views[0]),
        options,
        observers=[listening],
    )
    assert client.admission is not None
    reads = store.reads
    with client.admission.admitted(60.0), pytest.raises(OverloadedError):
        client.get(UA, service="it")
    assert store.reads == reads
    assert [(service, type(error)) for service, error in listening.errors] == [("it", OverloadedError)]
    assert client.get(UA, service="it").request_id
    assert len(listening.answers) == 1


def test_a_freshness_objective_bounds_what_is_remembered() -> None:
    columns: dict[str, Any] = {"carrier": pa.string()}
    strict = view_of("strict", columns, {"delay": pa.float64()}, freshness=timedelta(seconds=2))
    lax = view_of("lax", columns, {"delay": pa.float64()}, freshness=timedelta(days=9))
    project = project_of(strict, lax)

    def ages(cache: CacheOptions) -> list[float]:
        layers = layers_over(MemoryStore(), project, guard=None, remembered_seqs=0, cache=cache)
        assert layers.cache is not None
        return [layers.cache.options.age_of(table) for table in ("strict.1", "lax.1r2", "other.1")]

    assert ages(CacheOptions()) == [0.2, 1.0, 1.0]
    assert ages(CacheOptions(max_age=5.0, max_ages={"strict": 0.1, "lax": 3.0})) == [0.1, 3.0, 5.0]


def test_a_store_that_keeps_deadlines_is_read_where_it_is_asked(tmp_path: Path) -> None:
    project = project_of(view_of("carriers", {"carrier": pa.string()}, {"delay": pa.float64()}))
    options = ClientOptions()
    for store, threads in ((SQLiteStore(tmp_path / "a.sqlite"), 0), (MemoryStore(), 1)):
        store.prepare("carriers.1")
        layers = layers_over(store, project, guard=options.guard, remembered_seqs=10, cache=None)
        assert layers.reads.read_all([("carriers.1", [b"a"])], ReadOptions.within(60.0))[0].error is None
        assert layers.guard is not None
        assert layers.guard.stats().threads == threads
        layers.close()
        store.close()
    assert isinstance(layers_over(store, project, guard=None, remembered_seqs=0, cache=None).reads, StoreReads)
