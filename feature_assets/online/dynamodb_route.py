"""Where a direct connection to DynamoDB goes, and as whom: all of it as botocore finds it for its own client.

Invariant: nothing is decided here that botocore decides: the endpoint (also the one of an account, and one from the
environment or a profile), the region that signs, the credentials, whom TLS trusts. It connects to nothing; finding
credentials may make botocore ask for them.
"""

import os
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.credentials import Credentials
from botocore.httpsession import create_urllib3_context, get_cert_path
from botocore.session import Session
from botocore.utils import get_environ_proxies

from feature_assets.online.dynamodb_client import Endpoint
from feature_assets.online.dynamodb_signing import Scope

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint: where its sockets go, by TLS or not, and what its signatures are for."""

    host: str
    port: int
    tls: bool
    scope: Scope


def detour(client: Any) -> str | None:  # noqa: ANN401 - botocore makes its clients at run time
    """Why the client's endpoint cannot be reached by plain connections of ours; None if it can."""
    url = client.meta.endpoint_url
    if get_environ_proxies(url).get(urlsplit(url).scheme):
        return "a proxy is configured for it"
    return None if urlsplit(url).path in {"", "/"} else "its address has a path"


def route_of(client: Any) -> Route:  # noqa: ANN401 - see above
    """Where the client would send a call. Raises what botocore raises, e.g. without credentials.

    The endpoint may depend on the credentials' account, which is known only when they are; a presigned URL, of which
    nothing is sent, is botocore's public word on both.
    """
    url = urlsplit(client.generate_presigned_url("list_tables"))
    _, _, region, service, _ = parse_qs(url.query)["X-Amz-Credential"][0].rsplit("/", 4)
    host = url.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    port = url.port or _PORTS[url.scheme]
    if port != _PORTS[url.scheme]:
        shown = f"{shown}:{port}"
    return Route(host, port, url.scheme == "https", Scope(shown, region, service))


def credentials_of(session: Session, endpoint: Endpoint) -> Credentials | None:
    """Those of the endpoint, or what the session found for its clients, which refreshes itself."""
    if endpoint.access_key_id is not None and endpoint.secret_access_key is not None:
        return Credentials(endpoint.access_key_id, endpoint.secret_access_key, endpoint.session_token)
    return session.get_credentials()


def tls_context(session: Session) -> ssl.SSLContext:
    """Botocore's own, which trusts whom botocore trusts: AWS_CA_BUNDLE, the profile's, REQUESTS_CA_BUNDLE, or its own.

    botocore compares names outside of it; here OpenSSL does.
    """
    named = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    context: ssl.SSLContext = create_urllib3_context()
    context.load_verify_locations(named or get_cert_path(verify=True))
    context.check_hostname = True
    return context
