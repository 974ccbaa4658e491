"""What the words of an explanation mean, for people: statuses, reasons, causes.

Invariant: every one has a meaning, in a few words that need no other page.
"""

from typing import Final

from feature_assets.serving.explanation import Cause, Why
from feature_assets.serving.status import Status

MEANINGS: Final = {
    Status.PRESENT: "a value",
    Status.NULL: "there is a row, and this feature of it is null",
    Status.NOT_FOUND: "there is no row of this entity, or the request has no key",
    Status.EXPIRED: "there is a row, older than the view's time to live",
    Status.STALE: "a value; the view is further behind than it promises",
    Status.OVERFLOW: "there is more than the feature keeps",
    Status.DEFAULTED: "there is no value, and the declared default stands in",
    Status.LOADING: "unknown: no version that fits the code serves yet",
    Status.THROTTLED: "unknown: the store refused for load",
    Status.TIMEOUT: "unknown: the store did not answer in time",
    Status.ERROR: "unknown: the store failed, or what it holds cannot be read",
}

WHYS: Final = {
    Why.COUNTED: "counts",
    Why.HELD_BACK: "held back: its version of the day failed its expectations",
    Why.UNJUDGED: "waits for a verdict",
    Why.FUTURE: "dated after the instant",
    Why.LATE: "late: had not arrived yet",
    Why.NOT_AVAILABLE: "not available yet: had arrived, was not published",
    Why.UNACKNOWLEDGED: "in the item, its write not acknowledged yet",
    Why.SUPERSEDED: "superseded by a correction",
    Why.NOT_IN_ITEM: "published, and not in the item",
    Why.EXPIRED: "expired: older than the ttl",
    Why.OLDER: "older than the row that answers",
    Why.OUTSIDE: "outside the windows",
}

CAUSES: Final = {
    Cause.IN_THE_PAST: "the online store keeps no past: there is only the history to explain",
    Cause.STORE_FAILURE: "the store did not say",
    Cause.LOADING: "no version that fits the code serves on the store yet",
    Cause.OTHER_VERSION: "another version than the code's answered, and training computes with the code's",
    Cause.WRITE_INTERVAL: "inside a write: it was sent, and not acknowledged by the instant asked for; "
    "readers may see either state",
    Cause.ITEM_GONE: "the ledger says that it was written, and the store has no item: it was dropped, or lost; "
    "feature-assets push VIEW --rebuild",
    Cause.ITEM_BEHIND: "the item holds an older state than the ledger says was acknowledged; "
    "feature-assets push VIEW --rebuild",
    Cause.STREAMED: "records of a stream are in the item, and the view's history has none of them",
    Cause.NO_KEY: "the request has no key, and a training row without one is refused",
    Cause.INPUT: "one of its inputs is unknown, or differs",
    Cause.FUNCTION: "the request-time function failed",
    Cause.NO_HISTORY: "the history cannot be read",
    Cause.LIMIT: "not computed: more than the limits allow would have to be looked at",
    Cause.UNEXPLAINED: "the item holds the records that it should, and another value: it is damaged, or this is a bug",
}
