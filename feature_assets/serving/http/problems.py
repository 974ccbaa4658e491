"""What went wrong, as HTTP says it: one status and one body for each kind of error.

    {"error": {"code": "...", "message": "...", "hint": "...", "request_id": "..."}}

Invariant: what is the caller's doing is 4xx and says what and how to mend it; what may go better later has Retry-After;
of anything else only the request's id is told, under which the log has the rest.
"""

import logging
import math
from collections.abc import Mapping

import msgspec

from feature_assets.errors import (
    FeatureAssetsError,
    InputError,
    OverloadedError,
    StaleFeaturesError,
    StoreUnreachableError,
    UnknownNameError,
)
from feature_assets.serving.http.bodies import MalformedError
from feature_assets.serving.http.limits import LimitError

_log = logging.getLogger("feature_assets.serving")


class ProblemError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.retry_after = retry_after

    def body(self, request_id: str) -> bytes:
        """Its JSON."""
        found = {"code": self.code, "message": self.message, "hint": self.hint, "request_id": request_id}
        return msgspec.json.encode({"error": found})

    @property
    def headers(self) -> Mapping[str, str]:
        """What goes with it."""
        found = {} if self.retry_after is None else {"retry-after": str(max(1, math.ceil(self.retry_after)))}
        return {**found, "www-authenticate": "Bearer"} if self.status == 401 else found  # noqa: PLR2004 - of HTTP


def unauthenticated() -> ProblemError:
    """Nobody knows who asks."""
    return ProblemError(
        401, "unauthenticated", "no valid API key was sent", "send Authorization: Bearer fa_<id>_<secret>"
    )


def no_such_service(name: str) -> ProblemError:
    """There is none, or the caller may not ask it: both look alike."""
    shown = name if len(name) <= 63 else name[:60] + "..."  # noqa: PLR2004 - as long as a name may be
    return ProblemError(
        404, "unknown_service", f"there is no service {shown!r} for this key", "GET /v1/services lists them"
    )


def problem_of(error: BaseException, request_id: str) -> ProblemError:
    """What is told of an error."""
    match error:
        case ProblemError():
            return error
        case LimitError():
            return ProblemError(error.status, "limit", error.message, error.hint or "")
        case MalformedError():
            return ProblemError(400, "malformed", error.message, error.hint or "")
        case UnknownNameError() | InputError():
            return ProblemError(422, "invalid", error.message, error.hint or "")
        case StaleFeaturesError():
            return ProblemError(409, "stale", error.message, error.hint or "", 1.0)
        case OverloadedError():
            return ProblemError(503, "overloaded", error.message, error.hint or "", error.retry_after)
        case StoreUnreachableError():
            # Of single tables it is a status; of a request only that there was no answer in time.
            return ProblemError(503, "deadline", error.message, error.hint or "", 1.0)
        case FeatureAssetsError() if error.retryable:
            _log.warning("request %s: %s", request_id, error)
            return ProblemError(503, "unavailable", "the features cannot be had now", "ask again", 1.0)
        case _:
            _log.error("request %s failed", request_id, exc_info=error)
            return ProblemError(500, "internal", "the request could not be answered; its id is in the log")
