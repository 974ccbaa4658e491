"""Read back: a sample of what the ledger says was pushed, read from the store and compared with the history.

Invariant: it trusts neither side's word: the expected rows are computed from the durable history as a push computes
them, and nothing found is a failure like something wrong, so that a success never stands for zero rows.
It changes nothing.
"""

from dataclasses import dataclass, replace
from functools import partial
from random import Random

from feature_assets.clock import duration_us
from feature_assets.errors import StoreUnreachableError
from feature_assets.offline.ledger import Ledger
from feature_assets.online.item import Row, unpack_item
from feature_assets.online.plan import RULES, KnownVerdicts, PushedView, VersionedTable, whole_state
from feature_assets.online.sections import Contents, Entities, Sections
from feature_assets.online.store import OnlineStore, ReadFailure, Stored

_NEWEST, _OLDER = 3, 3
"""Partitions whose entities are looked at: the newest, and others drawn by the seed."""

_READS = 5
"""How often an entity that the store could not read is asked for again."""


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What a sample showed. `n`: the state that the ledger says every bucket has; `examples`: of what is wrong.

    `mismatches`: entities whose item has another row than the history. `missing`: entities that have a row in the
    history and no item. An item that a newer push has written meanwhile counts as neither.
    """

    n: int
    sampled: int
    mismatches: int
    missing: int
    examples: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether something was compared, and all of it was right."""
        return self.sampled > 0 and not self.mismatches and not self.missing


def read_back(  # noqa: PLR0913 - where to look, on both sides, and how much
    view: PushedView,
    *,
    version: str,
    table: VersionedTable,
    verdicts: KnownVerdicts,
    ledger: Ledger,
    store: OnlineStore,
    contents: Contents,
    now: int,
    sample: int = 50,
    seed: int = 0,
) -> ReadBack:
    """Compare about `sample` entities, the same ones for a seed. Raises `StoreUnreachableError` if they stay unread.

    An item that is absent although what it held counts for nothing by `now` (microseconds) is not missing: the store
    may drop it.
    """
    plan = whole_state(view, version=version, table=table, verdicts=verdicts, ledger=ledger, target=store.target)
    entities = _sampled(Sections(plan, view, table, contents, RULES), now, sample, Random(seed))  # noqa: S311 - which entities are looked at is no secret
    if not entities.keys:
        return ReadBack(plan.commit_seq, 0, 0, 0)
    found = _read(store, plan.table, entities.keys)
    wrong: list[str] = []
    missing: list[str] = []
    for key, row, stored in zip(entities.keys, entities.rows, found, strict=True):
        if stored is None:
            missing += [key.hex()] if row is not None and not _may_be_dropped(row, view, now) else []
        elif not _agrees(stored, row, plan.commit_seq, contents, now):
            wrong.append(key.hex())
    return ReadBack(plan.commit_seq, len(entities.keys), len(wrong), len(missing), tuple((wrong + missing)[:5]))


def _may_be_dropped(row: Row, view: PushedView, now: int) -> bool:
    return view.kept_for is not None and now - row.event_at > duration_us(view.kept_for)


def _sampled(sections: Sections, now: int, sample: int, rng: Random) -> Entities:
    """Entities of the newest partitions and of some older ones, with the rows that they should have.

    A year is not read to look at fifty entities. What was written last is where a push goes wrong; the older ones are
    there because what was lost may have been lost long ago.
    """
    plan = sections.plan
    partitions = [partition for partition, _ in plan.history]
    older = partitions[:-_NEWEST]
    only = frozenset(partitions[-_NEWEST:] + rng.sample(older, k=min(_OLDER, len(older))))
    chosen = partial(_drawn, rng, sample)
    return replace(sections, only=only).of(plan.buckets, now, chosen)


def _drawn(rng: Random, sample: int, entities: int) -> list[int]:
    return rng.sample(range(entities), k=min(sample, entities))


def _read(store: OnlineStore, table: str, keys: list[bytes]) -> list[Stored | None]:
    known: dict[bytes, Stored | None] = {}
    for _ in range(_READS):
        wanted = [key for key in keys if key not in known]
        results = store.read(table, wanted, consistent=True) if wanted else []
        answers = zip(wanted, results, strict=True)
        known.update({key: result for key, result in answers if not isinstance(result, ReadFailure)})
    unread = len(keys) - len(known)
    if unread:
        raise StoreUnreachableError(
            f"read back of {table}: {unread} of {len(keys)} items could not be read from {store.target}",
            hint="nothing is known to be wrong; run the check again when the store answers",
        )
    return [known[key] for key in keys]


def _agrees(stored: Stored, row: Row | None, n: int, contents: Contents, now: int) -> bool:
    batch = unpack_item(stored.value, stored.seq).batch
    return batch is not None and (batch.n > n or contents.agrees(batch.row, row, now))
