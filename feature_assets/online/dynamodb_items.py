"""How an item stands in a DynamoDB table, how it is written there, and what the verdict on a write means.

    k   binary   the encoded key, the table's hash key
    s   number   seq
    v   binary   the packed item
    x   number   when DynamoDB may drop it, in seconds since the epoch; absent: never

Invariant: a write carries its condition, so that it has its effect once, and only on the item that it was decided from.
It makes no calls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from feature_assets.online.store import Outcome, Put

KEY: Final = "k"
SEQ: Final = "s"
VALUE: Final = "v"
EXPIRES: Final = "x"
"""Names of attributes are paid for with every item, so they are short."""

Parameter = Mapping[str, object]
"""A value in DynamoDB's notation."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A PartiQL statement with its parameters."""

    text: str
    parameters: Sequence[Parameter]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one statement: the error's code (None: it was executed) and message."""

    code: str | None = None
    message: str = ""


THROTTLING: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "ThrottlingException",
        "ThrottlingError",
        "Throttling",
        "TooManyRequestsException",
        # Another transaction holds the item at this moment; nothing was written.
        "TransactionConflictException",
        "TransactionConflict",
    }
)
"""Codes, of whole answers and of single statements, that mean: not now."""
_OUTCOMES: Final = {
    **dict.fromkeys(THROTTLING, Outcome.THROTTLED),
    "ConditionalCheckFailed": Outcome.CONFLICT,
    "DuplicateItem": Outcome.CONFLICT,
    "AccessDenied": Outcome.REFUSED,
    "ItemCollectionSizeLimitExceeded": Outcome.REFUSED,
    "ResourceNotFound": Outcome.REFUSED,
    "ValidationError": Outcome.REFUSED,
}


def outcome_of(verdict: Verdict) -> Outcome:
    """What a verdict means. A code that is not known, like InternalServerError, says nothing of the effect."""
    return Outcome.APPLIED if verdict.code is None else _OUTCOMES.get(verdict.code, Outcome.UNKNOWN)


def write_statement(table: str, put: Put) -> Statement:
    """The conditional write of an item: INSERT fails if there is one, UPDATE if its seq is another or there is none.

    The table's name, which was checked, is the only text in it from outside; all values are parameters.
    """
    key, value, seq = {"B": put.key}, {"B": put.value}, {"N": str(put.expected + 1)}
    expires = None if put.expires_at is None else {"N": str(-(-put.expires_at // 1_000_000))}
    if put.expected == 0:
        named: dict[str, Parameter] = {KEY: key, SEQ: seq, VALUE: value}
        if expires is not None:
            named[EXPIRES] = expires
        item = ", ".join(f"'{name}': ?" for name in named)
        return Statement(f'INSERT INTO "{table}" VALUE {{{item}}}', list(named.values()))
    changes = f"SET {VALUE} = ? SET {SEQ} = ?"
    given: list[Parameter] = [value, seq]
    if expires is None:
        changes += f" REMOVE {EXPIRES}"
    else:
        changes += f" SET {EXPIRES} = ?"
        given.append(expires)
    given += [key, {"N": str(put.expected)}]
    return Statement(f'UPDATE "{table}" {changes} WHERE {KEY} = ? AND {SEQ} = ?', given)
