"""Retirement: versions that nobody brings up to date any more stop answering, and their tables are dropped.

A version that another has taken over from goes on serving for a while, so that the code can be set back at once. Then
it is retired: what it holds grows old unseen, and set back to it later, the code would answer from that.

Invariant: the code's own version is never retired, no other before the own one has served, and nothing has been pushed
to the other, for the whole grace period; the ledger says so first, and only what it says is retired is dropped. What a
push of an ended life still writes goes nowhere. It decides nothing about the durable history, which stays.
"""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from feature_assets.clock import Clock, duration_us, to_us
from feature_assets.errors import InputError
from feature_assets.offline.ledger import Ledger, LedgerRow, is_serving, life, retired
from feature_assets.online.item import table_name
from feature_assets.online.store import OnlineStore

GRACE = timedelta(days=7)
"""For how long the code can be set back without filling the older version anew."""


class Retirement(msgspec.Struct, frozen=True, kw_only=True):
    """What is done about one view: `versions` stop answering, `tables` of the store are dropped."""

    view: str
    target: str
    versions: tuple[str, ...]
    tables: tuple[str, ...]


def superseded(rows: Sequence[LedgerRow], current: str, now: int, grace: timedelta) -> list[str]:
    """The versions to be retired, by all ledger rows of one view and target; in the order in which they first appear.

    `current`: the code's version. `now`: microseconds since the epoch.
    """
    of: dict[str, list[LedgerRow]] = {}
    for row in rows:
        of.setdefault(row.version, []).append(row)
    own = of.pop(current, [])
    if not is_serving(own):
        return []
    since = max(row.acked_at or row.sent_at for row in own if row.kind == "serving")
    return [
        version
        for version, mine in of.items()
        if is_serving(mine) and max(since, *(row.acked_at or row.sent_at for row in mine)) + duration_us(grace) <= now
    ]


def retirement_plan(
    view: str, current: str, *, ledger: Ledger, store: OnlineStore, clock: Clock, grace: timedelta = GRACE
) -> Retirement:
    """What `retire_superseded` would do now. Tables of lives that have ended are dropped in any case."""
    if grace < timedelta(0):
        raise InputError(f"retirement of view {view!r}: a grace period of {grace}", hint="it is not negative")
    rows = ledger.rows(view=view, target=store.target)
    versions = superseded(rows, current, to_us(clock.now()), grace)
    there = set(store.tables())
    ended: list[str] = []
    for version in dict.fromkeys(row.version for row in rows):
        lives = life([row for row in rows if row.version == version]) + (version in versions)
        ended += [table_name(view, version, number) for number in range(lives)]
    return Retirement(
        view=view,
        target=store.target,
        versions=tuple(versions),
        tables=tuple(table for table in ended if table in there),
    )


def retire_superseded(
    view: str,
    current: str,
    *,
    ledger: Ledger,
    store: OnlineStore,
    clock: Clock,
    grace: timedelta = GRACE,
    run_id: str = "",
) -> Retirement:
    """Retire what is superseded, and drop what has ended; what an interrupted call left is done by the next one."""
    plan = retirement_plan(view, current, ledger=ledger, store=store, clock=clock, grace=grace)
    # The ledger first: readers turn to another version when they find the table gone, not the other way round.
    ledger.append([retired(view, version, store.target, clock, run_id=run_id) for version in plan.versions])
    for table in plan.tables:
        store.drop(table)
    return plan
