"""A push in a process of its own, to be killed, and what a shop with many customers should serve.

Invariant: the same call is the same push; what should be served is computed from the orders alone, without the product.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from feature_assets.crash import ARMED_BY
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.online.contents import contents_of
from feature_assets.online.push import PushOptions, push
from feature_assets.settings import load_settings
from feature_assets.store import FeatureStore
from feature_assets_tests.end_to_end import shop

Orders = Mapping[date, list[tuple[str, float]]]
Spent = tuple[float, int]
"""What a customer's newest day came to: the amount, and the number of orders."""

SPEND = replace(shop.daily_spend, expectations=())
SERVICE = FeatureService("spending", [SPEND])
PROJECT = Project("spending", sources=[shop.orders], views=[SPEND], services=[SERVICE])

FIRST, SECOND = date(2026, 1, 1), date(2026, 1, 2)
CUSTOMERS = [f"customer-{number}" for number in range(300)]
BEFORE: Orders = {
    FIRST: [(name, 1.0 + number) for number, name in enumerate(CUSTOMERS[:250])],
    SECOND: [(name, 1000.0 + number) for number, name in enumerate(CUSTOMERS[:120])],
}
AFTER: Orders = {
    **BEFORE,
    # Some are as before, some have another amount, some have vanished from the day, and some are new.
    SECOND: [
        *BEFORE[SECOND][:40],
        *((name, -amount) for name, amount in BEFORE[SECOND][40:80]),
        *((name, 1.0) for name in CUSTOMERS[250:]),
    ],
}
TOUCHED = set(CUSTOMERS[:120]) | set(CUSTOMERS[250:])
"""Whose item a push of the correction writes: everybody in the old version of the day or in the new one."""


def state_of(orders: Orders) -> dict[str, Spent | None]:
    """By customer, what should be served once `orders` are published. None: nothing is known of them."""
    found: dict[str, Spent | None] = dict.fromkeys(CUSTOMERS)
    for day in sorted(orders):
        of_day: dict[str, list[float]] = defaultdict(list)
        for name, amount in orders[day]:
            of_day[name].append(amount)
        found |= {name: (sum(amounts), len(amounts)) for name, amounts in of_day.items()}
    return found


def put(orders: Orders) -> None:
    """Make them the world's."""
    for day, of_day in orders.items():
        shop.put_orders(day, of_day)


def opened(root: Path) -> FeatureStore:
    """The shop whose lake, ledger, clock and online store are in `root`."""
    return FeatureStore.open(load_settings(root=str(root)), project=PROJECT)


def killed_push(root: str, point: str, rows_at_once: int) -> None:
    """Push what is due, and die at `point`. `rows_at_once` small: bucket by bucket, each acknowledged by itself."""
    os.environ[ARMED_BY] = point
    with opened(Path(root)) as store:
        plan = store.plan_push(SPEND)
        assert plan is not None, "nothing is due"
        options = PushOptions(contents_of(SPEND), rows_at_once=rows_at_once, batch=15)
        table = store.view_table(SPEND)
        push(plan, SPEND, table=table, ledger=store.ledger, store=store.online, clock=store.clock, options=options)


def answers(store: FeatureStore) -> Iterator[tuple[str, Spent | None, str, int]]:
    """What a reader sees now: by customer, the values, the status and how often the item was written."""
    answer = store.get([{"user_id": name} for name in CUSTOMERS], service=SERVICE.name)
    meta = answer.meta["daily_spend"]
    status = answer.status["daily_spend__spend"]
    for name, row, said, seq in zip(CUSTOMERS, answer.to_pylist(), status, meta.seq, strict=True):
        amount, count = row["daily_spend__spend"], row["daily_spend__orders"]
        spent = (amount, count) if isinstance(amount, float) and isinstance(count, int) else None
        yield name, spent, said.name, seq or 0


def world(folder: Path, environment: pytest.MonkeyPatch) -> None:
    """Let the shop's orders be in `folder`."""
    folder.mkdir()
    environment.setenv(shop.WORLD, str(folder))
