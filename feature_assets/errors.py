"""The one error tree. Every message says what, where, which value, and the way out.

    FeatureAssetsError
    ├── DefinitionError            a definition is wrong; raised when the project loads
    ├── SettingsError              a setting or environment variable is wrong or missing
    ├── InputError                 what a caller handed over is wrong: a spine, a key, a label
    │   ├── NaiveTimestampError    a timestamp without a time zone
    │   ├── UnknownNameError       a view, feature, service or column that does not exist
    │   └── ImmatureLabelError     a label whose outcome was not yet known
    ├── TransformError             a transform raised, or returned the wrong columns or rows
    ├── SchemaError                data does not fit the table; the change is not an allowed evolution
    ├── OfflineError               the Delta side
    │   ├── TableDamagedError      the log or a file of a table is unreadable; the last good version is named
    │   ├── StorageFullError       no space left; nothing was acknowledged
    │   └── CommitConflictError    (retryable) another writer committed first
    │       └── OutdatedError      (retryable) what is to be committed was made from an older state than what is there
    ├── OnlineError                the online store side
    │   ├── StoreUnreachableError  (retryable) no answer from the store
    │   ├── StoreThrottledError    (retryable) the store refused for load, past the retry budget
    │   ├── StoreRefusedError      the store answered, and refused: permission, validation, missing table
    │   ├── StaleFeaturesError     (retryable) a view is staler than the caller takes
    │   ├── OverloadedError        (retryable) refused before anything was read, as too much is being answered already
    │   ├── UnknownFeaturesError   (retryable) what a prediction is to be made from, the store did not say
    │   ├── ItemTooLargeError      an item would outgrow the store's bound
    │   └── CodecError             bytes that this version cannot read or values it cannot write
    ├── VerdictError               a blocking expectation failed, or could not be evaluated
    ├── ManifestError              a manifest is unreadable, tampered with, or cannot be rebuilt
    └── RetrainingError            training, evaluation or promotion could not be done

It does not know HTTP, Dagster or any store: those map from this tree at their own edge.
"""

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_SHOWN = 12
"""Names that a hint lists before it says that there are more."""


class FeatureAssetsError(Exception):
    """Base of every error that this package raises on purpose.

    `retryable` is a property of the type: the same call may succeed later with nothing changed by the caller.
    """

    retryable: bool = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(message if hint is None else f"{message}\nHint: {hint}")


class DefinitionError(FeatureAssetsError):
    """A definition is wrong; the message names the file, the definition and the field."""


class SettingsError(FeatureAssetsError):
    """A setting is wrong or missing; the message names the setting and where it was read from."""


class InputError(FeatureAssetsError):
    """What the caller handed over cannot be used."""


class NaiveTimestampError(InputError):
    """A timestamp column without a time zone; the message names the column."""

    def __init__(self, column: str, where: str) -> None:
        super().__init__(
            f"{where}: column {column!r} holds timestamps without a time zone",
            hint="say which zone they are in, e.g. series.dt.tz_localize('UTC'); all times are kept in UTC",
        )


class UnknownNameError(InputError):
    """A name that does not exist, with the nearest that do."""

    def __init__(self, kind: str, name: str, known: "Iterable[str]", where: str) -> None:
        options = sorted(known)
        super().__init__(f"{where}: unknown {kind} {name!r}", hint=did_you_mean(name, options))


class ImmatureLabelError(InputError):
    """A label whose outcome was not known at the time the training set was asked for."""


class TransformError(FeatureAssetsError):
    """A transform raised, or returned what its view did not declare."""


class SchemaError(FeatureAssetsError):
    """Data does not fit a table's schema, and the difference is not an allowed evolution."""


class OfflineError(FeatureAssetsError):
    """The Delta side failed."""


class TableDamagedError(OfflineError):
    """A table's log or one of its files is unreadable."""


class StorageFullError(OfflineError):
    """No space left on the device; nothing was acknowledged."""


class CommitConflictError(OfflineError):
    """Another writer committed first, and the retries are used up."""

    retryable = True


class OutdatedError(CommitConflictError):
    """Another writer committed meanwhile, from a newer state of the sources than this one has read."""


class OnlineError(FeatureAssetsError):
    """The online store side failed."""


class StoreUnreachableError(OnlineError):
    """The store did not answer in time, or at all."""

    retryable = True


class StoreThrottledError(OnlineError):
    """The store refused for load, and the retry budget is used up."""

    retryable = True


class StoreRefusedError(OnlineError):
    """The store answered with a refusal that a retry will not change."""


class StaleFeaturesError(OnlineError):
    """A view is staler than the caller takes, who asked for an error rather than for its values."""

    retryable = True


class OverloadedError(OnlineError):
    """Refused before anything was read. `retry_after`: seconds after which to ask again."""

    retryable = True

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class UnknownFeaturesError(OnlineError):
    """Features of an answer are unknown, and what was asked for needs them: predicting from them would be guessing."""

    retryable = True


class ItemTooLargeError(OnlineError):
    """An item would outgrow the bound; nothing of it was written."""


class CodecError(OnlineError):
    """Bytes that this version cannot read, or a value that it cannot write."""


class VerdictError(FeatureAssetsError):
    """A blocking expectation failed or could not be evaluated."""


class ManifestError(FeatureAssetsError):
    """A manifest is unreadable, was tampered with, or can no longer be rebuilt."""


class RetrainingError(FeatureAssetsError):
    """Training, evaluation or promotion could not be done."""


def did_you_mean(name: str, options: "Iterable[str]") -> str:
    """The hint for a name that is not among `options`: the nearest one, else the list."""
    known = sorted(options)
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    shown = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
    return f"known: {shown}" if known else "none is defined"
