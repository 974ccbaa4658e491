"""What is known of one feature in one row, and its compact form: a small integer per row.

Invariant: of what the store did not say, nothing is said: such statuses are told apart from all that mean "there is no
value", and no default stands in for them.
"""

from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from feature_assets.online.store import ReadFailure

Codes = npt.NDArray[np.int8]
"""One status per row: its place in `Status`."""


class Status(StrEnum):
    """What is known of one feature in one row."""

    PRESENT = "PRESENT"
    """A value."""
    NULL = "NULL"
    """There is a row, and this feature of it is null."""
    NOT_FOUND = "NOT_FOUND"
    """The store surely has no row of this entity; or the request has no key."""
    EXPIRED = "EXPIRED"
    """There is a row, and it is older than the view's time to live."""
    STALE = "STALE"
    """A value, of a view that is not known to be as fresh as it promises; the entity itself may just be quiet."""
    OVERFLOW = "OVERFLOW"
    """There is a value, and it is more than the feature keeps: past its bound, or out of the range of its type."""
    DEFAULTED = "DEFAULTED"
    """There is no value, and the feature's default stands in."""
    LOADING = "LOADING"
    """Unknown: no version of the view that fits the code serves on this store yet."""
    THROTTLED = "THROTTLED"
    """Unknown: the store refused for load."""
    TIMEOUT = "TIMEOUT"
    """Unknown: the store did not answer in time."""
    ERROR = "ERROR"
    """Unknown: the store failed, what it holds cannot be read, or a request-time function failed."""

    @property
    def code(self) -> np.int8:
        """Its place in a compact form."""
        return _CODES[self]

    @property
    def is_unknown(self) -> bool:
        """Whether there may be a value that could not be had: asking again may give it."""
        return self in _UNKNOWN


_CODES: Final = {status: np.int8(place) for place, status in enumerate(Status)}
_UNKNOWN: Final = frozenset({Status.LOADING, Status.THROTTLED, Status.TIMEOUT, Status.ERROR})
_ABSENT: Final = frozenset({Status.NULL, Status.NOT_FOUND, Status.EXPIRED})
_STATUSES: Final = np.array(list(Status), object)
_IS_UNKNOWN: Final = np.array([status in _UNKNOWN for status in Status])
_IS_ABSENT: Final = np.array([status in _ABSENT for status in Status])

OF_FAILURE: Final = {
    ReadFailure.THROTTLED: Status.THROTTLED,
    ReadFailure.TIMEOUT: Status.TIMEOUT,
    ReadFailure.ERROR: Status.ERROR,
}
"""What becomes of a key that could not be read."""


def statuses(codes: Codes) -> list[Status]:
    """The statuses themselves."""
    found: list[Status] = _STATUSES[codes].tolist()
    return found


def unknown(codes: Codes) -> npt.NDArray[np.bool_]:
    """Where nothing is known."""
    mask: npt.NDArray[np.bool_] = _IS_UNKNOWN[codes]
    return mask


def absent(codes: Codes) -> npt.NDArray[np.bool_]:
    """Where there surely is no value: a default stands in here, as it does in a training set."""
    mask: npt.NDArray[np.bool_] = _IS_ABSENT[codes]
    return mask
