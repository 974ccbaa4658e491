"""The head of a signed request to DynamoDB: AWS's Signature Version 4 over exactly the headers that are sent.

Invariant: for the same credentials, instant and body it is the signature that botocore's own signer makes; a test
compares them. Credentials are asked for anew each time, so that botocore refreshes them when they are due. Neither
they nor a signature are in any message or repr.

botocore's signer takes 62 us for a request of a hundred keys, this one 4 us: what does not change from one request to
the next is written once, and the key that signs is derived once a day.
"""

from dataclasses import dataclass
from hashlib import sha256
from hmac import digest
from typing import Final

from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import NoCredentialsError

from feature_assets.clock import Clock, SystemClock
from feature_assets.online.dynamodb_client import FaultError, Kind

TARGET: Final = "DynamoDB_20120810."
"""The version of DynamoDB's interface, before the name of an operation."""
_TYPE: Final = "application/x-amz-json-1.0"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signature is good for: the `Host` header, the region and the service."""

    host: str
    region: str
    service: str


@dataclass(frozen=True, slots=True, repr=False)
class _Key:
    """What signs on one day, for one set of credentials."""

    of: tuple[str, str, str, str | None]
    signs: bytes
    scope: str


class Signer:
    """Signs for one endpoint. Any number of threads."""

    def __init__(self, credentials: Credentials | None, scope: Scope, clock: Clock | None = None) -> None:
        self._credentials = credentials
        self._scope = scope
        self._clock = clock or SystemClock()
        self._last: _Key | None = None

    def __repr__(self) -> str:
        return f"Signer({self._scope!r})"

    @property
    def is_at_hand(self) -> bool:
        """Whether it can sign now, without botocore asking anybody for credentials."""
        if self._credentials is None:
            return False
        return not isinstance(self._credentials, RefreshableCredentials) or not self._credentials.refresh_needed()

    def signed(self, operation: str, body: bytes) -> bytes:
        """The whole request. Raises what botocore raises without credentials, or if it cannot refresh them."""
        if self._credentials is None:
            raise NoCredentialsError
        frozen = self._credentials.get_frozen_credentials()
        at = self._clock.now().strftime("%Y%m%dT%H%M%SZ")
        key = self._key(at[:8], frozen.access_key or "", frozen.secret_key or "", frozen.token or None)
        token = key.of[3]
        named = "content-type;host;x-amz-date;x-amz-target"
        held = ""
        if token is not None:
            named = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
            held = f"x-amz-security-token:{token}\n"
        headers = (
            f"content-type:{_TYPE}\nhost:{self._scope.host}\nx-amz-date:{at}\n{held}x-amz-target:{TARGET}{operation}\n"
        )
        canonical = f"POST\n/\n\n{headers}\n{named}\n{sha256(body).hexdigest()}"
        to_sign = f"AWS4-HMAC-SHA256\n{at}\n{key.scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = digest(key.signs, to_sign.encode(), "sha256").hex()
        return (
            f"POST / HTTP/1.1\r\n{headers[:-1].replace(chr(10), chr(13) + chr(10))}\r\ncontent-length:{len(body)}\r\n"
            f"authorization:AWS4-HMAC-SHA256 Credential={key.of[1]}/{key.scope}, SignedHeaders={named}, "
            f"Signature={signature}\r\naccept-encoding:identity\r\nuser-agent:feature-assets\r\n\r\n"
        ).encode() + body

    def _key(self, day: str, access_key: str, secret_key: str, token: str | None) -> _Key:
        of = (day, access_key, secret_key, token)
        known = self._last
        if known is not None and known.of == of:
            return known
        if not all(text.isascii() and text.isprintable() and " " not in text for text in (access_key, token or "")):
            raise FaultError(Kind.REFUSED, "the credentials have characters that no header can have")
        signs = f"AWS4{secret_key}".encode()
        for part in (day, self._scope.region, self._scope.service, "aws4_request"):
            signs = digest(signs, part.encode(), "sha256")
        made = _Key(of, signs, f"{day}/{self._scope.region}/{self._scope.service}/aws4_request")
        self._last = made
        return made
