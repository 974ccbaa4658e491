"""The tables of the DynamoDB store: made, found and removed.

Invariant: a table that is prepared is active, keyed as the store needs it, billed on demand, and drops expired items by
itself. Preparing and dropping can be repeated and raced.
It touches no items.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from botocore.exceptions import ClientError

from feature_assets.errors import OnlineError, StoreRefusedError, StoreThrottledError, StoreUnreachableError
from feature_assets.online.dynamodb_client import FaultError, Kind, checked
from feature_assets.online.dynamodb_items import EXPIRES, KEY

_CALLS: Final = 5
"""As for any read: see decision 7."""
READY_WITHIN_S: Final = 300.0
"""A new table usually takes ten seconds, one that is being deleted a few more."""
_ON_ITS_WAY: Final = frozenset({"ResourceInUseException", "ResourceNotFoundException", "LimitExceededException"})
"""Codes that say that another one is at it, was faster, or that too many tables are being changed at this moment."""
_KEYS: Final = [{"AttributeName": KEY, "KeyType": "HASH"}]
_ATTRIBUTES: Final = [{"AttributeName": KEY, "AttributeType": "B"}]


@dataclass(frozen=True, slots=True)
class Tables:
    """Tables by their full names. `kms_key`: what they are encrypted with; None: DynamoDB's own key."""

    client: Any
    kms_key: str | None
    sleep: Callable[[float], None]

    def prepare(self, table: str) -> None:
        """Make the table if it is absent, and wait until it can be used."""
        waiting = _Waiting(table, self.sleep)
        while (found := self._described(table, waiting)) is None or found["TableStatus"] not in {"ACTIVE", "UPDATING"}:
            if found is None:
                self._create(table)
            waiting.pause("nothing" if found is None else found["TableStatus"])
        if found["KeySchema"] != _KEYS or found["AttributeDefinitions"] != _ATTRIBUTES:
            raise StoreRefusedError(
                f"DynamoDB: table {table} is there, and is not keyed by a binary {KEY!r}: it is somebody else's",
                hint="choose another prefix for the tables of this project",
            )
        self._expire(table)

    def drop(self, table: str) -> None:
        """Delete the table, and wait until it is gone."""
        waiting = _Waiting(table, self.sleep)
        while (found := self._described(table, waiting)) is not None:
            if found["TableStatus"] == "ACTIVE":
                self._ask_for("delete", table)
            waiting.pause(found["TableStatus"])

    def starting_with(self, prefix: str) -> list[str]:
        """The names of the tables that start with `prefix`."""
        names: list[str] = []
        # Names are listed in order, and this one comes right before all that are wanted.
        after = prefix[:-1]
        while True:
            page = checked("list the tables", partial(self.client.list_tables, ExclusiveStartTableName=after))
            names += [name for name in page["TableNames"] if name.startswith(prefix)]
            after = page.get("LastEvaluatedTableName", "")
            if not after.startswith(prefix):
                return names

    def _described(self, table: str, waiting: "_Waiting") -> Mapping[str, Any] | None:
        """What the table is; None if it is not there. A server that fails for now is asked again, a few times."""
        failures = 0
        while True:
            try:
                answer = self._unless("describe", table, {"ResourceNotFoundException"}, "describe_table")
            except (StoreThrottledError, StoreUnreachableError) as error:
                failures += 1
                if _is_unsent(error) or failures == _CALLS:
                    raise
                waiting.pause("unknown")
            else:
                return None if answer is None else answer["Table"]

    def _create(self, table: str) -> None:
        options: dict[str, object] = {}
        if self.kms_key is not None:
            options["SSESpecification"] = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": self.kms_key}
        self._ask_for(
            "create",
            table,
            KeySchema=_KEYS,
            AttributeDefinitions=_ATTRIBUTES,
            BillingMode="PAY_PER_REQUEST",
            **options,
        )

    def _ask_for(self, verb: str, table: str, **parameters: object) -> None:
        """Ask for a change that is then waited for: if it failed for now, or another one was faster, that is seen."""
        try:
            self._unless(verb, table, _ON_ITS_WAY, f"{verb}_table", **parameters)
        except (StoreThrottledError, StoreUnreachableError) as error:
            if _is_unsent(error):
                raise

    def _expire(self, table: str) -> None:
        """Have the table drop items whose time has come; AWS does so within days, at no cost."""
        answer = checked(f"describe {table}", lambda: self.client.describe_time_to_live(TableName=table))
        known = answer["TimeToLiveDescription"]
        if known["TimeToLiveStatus"] in {"ENABLED", "ENABLING"} and known.get("AttributeName") == EXPIRES:
            return
        wanted = {"Enabled": True, "AttributeName": EXPIRES}
        # Refused if another one was faster: then it is as it should be, and else the next preparation sees to it.
        self._unless(
            "set the expiry of", table, {"ValidationException"}, "update_time_to_live", TimeToLiveSpecification=wanted
        )

    def _unless(self, verb: str, table: str, codes: Collection[str], call: str, **parameters: object) -> Any:  # noqa: ANN401 - as botocore answers
        """The answer of a call on a table; None if it fails with one of these codes."""

        def attempt() -> Any:  # noqa: ANN401 - see above
            try:
                return getattr(self.client, call)(TableName=table, **parameters)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in codes:
                    return None
                raise

        return checked(f"{verb} {table}", attempt)


def _is_unsent(error: OnlineError) -> bool:
    """Whether nobody was reached at all."""
    return isinstance(error.__cause__, FaultError) and error.__cause__.kind is Kind.UNSENT


class _Waiting:
    """Pauses that grow from 50 ms to two seconds, and end in an error."""

    def __init__(self, table: str, sleep: Callable[[float], None]) -> None:
        self._table = table
        self._sleep = sleep
        self._waited = 0.0
        self._next = 0.05

    def pause(self, status: str) -> None:
        if self._waited >= READY_WITHIN_S:
            raise StoreUnreachableError(
                f"DynamoDB: table {self._table} is still {status} after {READY_WITHIN_S:.0f} s",
                hint="look at it in the AWS console, then try again",
            )
        self._sleep(self._next)
        self._waited += self._next
        self._next = min(2.0, self._next * 2)
