"""The audit log: who asked which service for how many entities, and what came of it, one JSON object a line.

Invariant: no key of an entity, no value and no secret is in it. It holds up no answer: a line is written by the logging
of Python, wherever that sends the logger `feature_assets.audit`.
"""

import logging
from typing import Final

import msgspec

LOGGER: Final = logging.getLogger("feature_assets.audit")


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request. `at`: ISO 8601; `key`: the id of the API key; `status`: of HTTP; `code`: of an error."""

    at: str
    key: str
    verb: str
    status: int
    milliseconds: float
    request_id: str
    service: str = ""
    entities: int = 0
    code: str = ""


_encoder = msgspec.json.Encoder()


def record(entry: Entry) -> None:
    """Write a line."""
    if LOGGER.isEnabledFor(logging.INFO):
        LOGGER.info("%s", _encoder.encode(entry).decode())
