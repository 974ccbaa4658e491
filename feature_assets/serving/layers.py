"""What stands between a reader and its store, from the store up: a guard, a memory of seqs, a cache.

Invariant: the cache holds only what the memory of seqs let through, which sees only what the guard answered; so that
nothing remembered goes back, and no failure is remembered.
It only puts them together; each can be left out.
"""

from dataclasses import dataclass, replace

from feature_assets.definition.project import Project
from feature_assets.online.store import KeepsDeadlines, OnlineStore, TableReads
from feature_assets.serving.guard import GuardedReads, GuardOptions
from feature_assets.serving.item_cache import CachedReads, CacheOptions
from feature_assets.serving.monotonic import MonotonicReads
from feature_assets.serving.reads import ItemReads, StoreReads


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers there are; `reads` is the uppermost."""

    reads: ItemReads
    guard: GuardedReads | None = None
    monotonic: MonotonicReads | None = None
    cache: CachedReads | None = None

    def close(self) -> None:
        """Let go of threads. The store stays open."""
        if self.guard is not None:
            self.guard.close()


def layers_over(
    store: OnlineStore,
    project: Project,
    *,
    guard: GuardOptions | None,
    remembered_seqs: int,
    cache: CacheOptions | None,
) -> Layers:
    """The layers over a store; what is None, or 0, is left out.

    An item of a view with a freshness objective is never remembered longer than a tenth of that: what a view promises
    is about its data, and a cache may not use up much of it.
    """
    reads: ItemReads = StoreReads(store)
    guarded = monotonic = cached = None
    if guard is not None:
        inline = isinstance(store, KeepsDeadlines) and store.keeps_deadlines
        together = isinstance(store, TableReads)
        reads = guarded = GuardedReads(reads, guard, name=store.target, inline=inline, together=together)
    if remembered_seqs:
        reads = monotonic = MonotonicReads(reads, remembered_seqs)
    if cache is not None:
        promised = {view.name: view.freshness / 10 for view in project.views if view.freshness is not None}
        ages = {name: age.total_seconds() for name, age in promised.items()}
        ages |= {name: min(age, ages.get(name, age)) for name, age in cache.max_ages.items()}
        reads = cached = CachedReads(reads, replace(cache, max_ages=ages))
    return Layers(reads, guarded, monotonic, cached)
