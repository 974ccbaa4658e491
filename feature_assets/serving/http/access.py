"""API keys: who may ask what.

    [keys.9f3c21d0]
    sha256 = "..."                       # of the secret; the secret itself is shown once, when the key is made
    verbs = ["read"]                     # read, explain, metrics
    services = ["flight_delay"]          # or ["*"]
    expires = 2027-01-01T00:00:00Z       # may be left out

A caller sends `Authorization: Bearer fa_<id>_<secret>`.

Invariant: what no key allows is refused. Secrets are compared in constant time, and kept only as hashes: they are 256
random bits, so there is nothing to guess at, and no slow hash is needed to make guessing slower. The file is read again
when it has changed; while it cannot be read, what it last said holds.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Final, Literal, get_args

from feature_assets.clock import Clock
from feature_assets.errors import SettingsError, UnknownNameError

Verb = Literal["read", "explain", "metrics"]
VERBS: Final[tuple[Verb, ...]] = get_args(Verb)
EVERY: Final = "*"
_TOKEN: Final = re.compile(r"fa_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_LOOKED_AT_EVERY: Final = 1.0
_NOBODY: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Key:
    """What one key allows. `sha256`: of its secret, in hex."""

    id: str
    sha256: str = field(repr=False)
    verbs: frozenset[str]
    services: frozenset[str]
    expires: datetime | None = None

    def allows(self, verb: Verb, service: str | None) -> bool:
        """Whether it may be used so; `service`: None for what is of no single one."""
        return verb in self.verbs and (service is None or EVERY in self.services or service in self.services)


ANYBODY: Final = Key("anonymous", "", frozenset(VERBS), frozenset({EVERY}))
"""Who asks where no keys are needed."""


class KeysFile:
    """The keys in a file. Safe to share between threads. Raises `SettingsError` if the file cannot be used."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._keys = read_keys(path)
        self._changed = _changed(path)
        self._looked = time.monotonic()
        self._looking = Lock()

    def of(self, authorization: str | None) -> Key | None:
        """The key that a header names; None if it names none that is good."""
        self._look()
        match = None if authorization is None else _TOKEN.fullmatch(authorization.removeprefix("Bearer "))
        known = None if match is None else self._keys.get(match[1])
        # The same work whether there is such a key or not.
        given = hashlib.sha256(b"" if match is None else match[2].encode()).hexdigest()
        same = hmac.compare_digest(given, _NOBODY if known is None else known.sha256)
        if known is None or not same or match is None:
            return None
        return known if known.expires is None or self._clock.now() < known.expires else None

    def _look(self) -> None:
        """Read the file again if it has changed."""
        if time.monotonic() - self._looked < _LOOKED_AT_EVERY or not self._looking.acquire(blocking=False):
            return
        try:
            self._looked = time.monotonic()
            changed = _changed(self.path)
            if changed != self._changed:
                self._keys, self._changed = read_keys(self.path), changed
        except (OSError, SettingsError):
            # What it last said holds; whoever made it unreadable was told by the tool that wrote it.
            return
        finally:
            self._looking.release()


def read_keys(path: Path) -> dict[str, Key]:
    """The keys in a file, by id. Raises `SettingsError`."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"keys file {path}: {error}", hint="make one: feature-assets keys create") from error
    if mode & 0o077:
        raise SettingsError(f"keys file {path}: others may read it (mode {mode:o})", hint=f"chmod 600 {path}")
    found = document.get("keys", {})
    if not isinstance(found, dict):
        raise SettingsError(f"keys file {path}: `keys` is no table", hint="see docs/how-to/serve_over_http.md")
    return {name: _key(path, name, values) for name, values in found.items()}


def create(
    path: Path, verbs: Sequence[str], services: Sequence[str], expires: datetime | None = None
) -> tuple[Key, str]:
    """Add a key to the file, which is made if it is absent. Returns it, and the token that is its only copy."""
    wrong = sorted(set(verbs) - set(VERBS))
    if wrong:
        raise UnknownNameError("verb", wrong[0], VERBS, "API keys")
    keys = read_keys(path) if path.exists() else {}
    secret, name = secrets.token_urlsafe(32), secrets.token_hex(4)
    key = Key(name, hashlib.sha256(secret.encode()).hexdigest(), frozenset(verbs), frozenset(services), expires)
    _write(path, {**keys, name: key})
    return key, f"fa_{name}_{secret}"


def revoke(path: Path, name: str) -> None:
    """Take a key out of the file. Raises `UnknownNameError`."""
    keys = read_keys(path)
    if name not in keys:
        raise UnknownNameError("key", name, list(keys), str(path))
    _write(path, {other: key for other, key in keys.items() if other != name})


def _key(path: Path, name: str, values: object) -> Key:
    where = f"keys file {path}: key {name!r}"
    if not isinstance(values, dict) or re.fullmatch(r"[0-9a-f]{8}", name) is None:
        raise SettingsError(f"{where} is none", hint="make keys by feature-assets keys create")
    expires, digest = values.get("expires"), values.get("sha256", "")
    if not isinstance(digest, str) or re.fullmatch(r"[0-9a-f]{64}", digest) is None:
        raise SettingsError(f"{where}: sha256 is no digest in hex", hint="make keys by feature-assets keys create")
    if expires is not None and (not isinstance(expires, datetime) or expires.tzinfo is None):
        raise SettingsError(f"{where}: expires is no instant with a zone", hint="write 2027-01-01T00:00:00Z")
    verbs, services = _texts(where, "verbs", values), _texts(where, "services", values)
    if not verbs <= set(VERBS):
        raise SettingsError(
            f"{where}: no verb {min(verbs - set(VERBS))!r} exists", hint=f"there are {', '.join(VERBS)}"
        )
    return Key(name, digest, verbs, services, expires)


def _texts(where: str, name: str, values: Mapping[str, object]) -> frozenset[str]:
    found = values.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise SettingsError(f"{where}: {name} is no list of texts", hint=f'e.g. {name} = ["read"]')
    return frozenset(found)


def _write(path: Path, keys: Mapping[str, Key]) -> None:
    """All of them, or, if it is interrupted, what was there."""
    lines = ["# API keys of feature-assets serve. Secrets are not in here, only their hashes."]
    for name, key in sorted(keys.items()):
        lines += [
            f"\n[keys.{name}]",
            f'sha256 = "{key.sha256}"',
            f"verbs = [{', '.join(_quoted(verb) for verb in sorted(key.verbs))}]",
            f"services = [{', '.join(_quoted(service) for service in sorted(key.services))}]",
        ]
        if key.expires is not None:
            lines.append(f"expires = {key.expires.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    Path(fresh).replace(path)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _changed(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino
