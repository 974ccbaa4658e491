"""From what delta-rs, Arrow and the operating system raise to the error tree.

Invariant: no message carries a credential, and each says which table, what is wrong and the way out. What is not known
to be a full device, a refused or unreachable store, or a conflict is damage: never silently less data. It opens nothing
and looks at no file: `integrity.py` does that, for the local log.
"""

import errno
import re
from collections.abc import Mapping

from deltalake.exceptions import CommitFailedError

from feature_assets.errors import (
    CommitConflictError,
    FeatureAssetsError,
    OfflineError,
    StorageFullError,
    TableDamagedError,
)

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No space, over quota, over the process's file size limit: in all three nothing more can be written."""

_FULL_TEXT = re.compile(r"os error (28|122|27)\b|No space left|Disk quota exceeded|File too large")
_REFUSED_TEXT = re.compile(
    r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|Forbidden|Unauthenticated|NoSuchBucket|status code: 40[13]"
    r"|lack the necessary privileges|Error performing credential|permission",
    re.IGNORECASE,
)
_NETWORK_TEXT = re.compile(
    r"error sending request|HTTP error|Connection refused|connection closed|tcp connect|dns error|timed out|timeout"
    r"|Server returned non-2xx|status code: 5\d\d|5\d\d (Internal|Bad|Service|Gateway)|server error",
    re.IGNORECASE,
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_SECRET_OPTION = re.compile(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY", re.IGNORECASE)
LONGEST = 400
DAMAGE_HINT = "see docs/operations.md, 'A table is damaged'; nothing was changed"


def cleaned(text: str, options: Mapping[str, str]) -> str:
    """An error's text in one line, bounded, without colours and without any credential of `options`."""
    flat = " ".join(_COLOURS.sub("", text).replace("↳", "").split("0: <unknown>")[0].split())
    for name, value in options.items():
        if value and _SECRET_OPTION.search(name):
            flat = flat.replace(value, "***")
    return flat if len(flat) <= LONGEST else flat[:LONGEST] + "..."


def is_full(error: BaseException) -> bool:
    """Whether an error says that the device takes no more."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    return _FULL_TEXT.search(str(error)) is not None


def mapped(
    error: Exception, table: str, root: str, options: Mapping[str, str], *, reading: bool = False
) -> FeatureAssetsError:
    """The error of the tree that stands for `error`, met while working on `table` under `root`.

    `reading`: what is there was being read, so that what is not known to be something else is damage.
    """
    if isinstance(error, FeatureAssetsError):
        return error
    text = cleaned(str(error), options)
    if is_full(error):
        return StorageFullError(
            f"table {table}: no space left under {root}: {text}",
            hint="nothing was committed or acknowledged; free some space and run the same step again",
        )
    if isinstance(error, CommitFailedError):
        return CommitConflictError(f"table {table}: another writer committed first: {text}", hint="run the step again")
    if root.startswith("s3://"):
        known = _remote(table, root, options, text)
        if known is not None:
            return known
    if isinstance(error, PermissionError):
        return OfflineError(f"table {table}: not allowed: {text}", hint=f"check the owner and mode of {root}")
    if reading:
        return damaged(table, text)
    return OfflineError(f"table {table}: {text}", hint="nothing was acknowledged; the same step can be run again")


def damaged(table: str, what: str, *, last_good: int | None = None, way_out: str = DAMAGE_HINT) -> TableDamagedError:
    """The error for a table that cannot be read whole; names the last good version where one is known."""
    good = "" if last_good is None else f"; last good version: {last_good}"
    return TableDamagedError(f"table {table} is damaged: {what}{good}", hint=way_out)


def _remote(table: str, root: str, options: Mapping[str, str], text: str) -> OfflineError | None:
    endpoint = endpoint_of(options)
    if _REFUSED_TEXT.search(text):
        return OfflineError(
            f"table {table}: {endpoint} refused access to {root}: {text}",
            hint="check the bucket's name, the credentials and their permissions (list, get, put, delete)",
        )
    if _NETWORK_TEXT.search(text):
        return OfflineError(
            f"table {table}: {endpoint} cannot be reached for {root}: {text}",
            hint="check the endpoint and the network; the same step can be run again",
        )
    return None


def endpoint_of(options: Mapping[str, str]) -> str:
    """The endpoint that the options name, or AWS's own."""
    for name, value in options.items():
        if name.lower() in ("aws_endpoint_url", "endpoint_url", "aws_endpoint", "endpoint", "aws_endpoint_url_s3"):
            return value
    return "AWS S3"
