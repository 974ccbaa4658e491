"""`serve` and `keys`: features over HTTP, and who may ask.

Invariant: without API keys it listens on the loopback interface only, unless it is told that anybody may ask.
"""

import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from feature_assets.cli.options import Json, load_project, open_store
from feature_assets.cli.output import err, out, show_json, show_table
from feature_assets.errors import SettingsError

if TYPE_CHECKING:
    from feature_assets.serving.http.access import Key
    from feature_assets.serving.http.call import Serving
    from feature_assets.serving.http.server import Listening

group = typer.Typer(help="API keys of the server: create, list, revoke.", no_args_is_help=True)
KEYS_FILE = Path("keys.toml")
WARM_WITHIN_S = 30.0
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})

Keys = Annotated[Path | None, typer.Option("--keys", envvar="FEATURE_ASSETS_KEYS", help="The file of API keys.")]
InKeys = Annotated[Path, typer.Option("--keys", envvar="FEATURE_ASSETS_KEYS", help="The file of API keys.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(serve)
    group.command("create")(create)
    group.command("list")(listed)
    group.command("revoke")(revoke)
    app.add_typer(group, name="keys")


def serve(
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8080,
    keys: Keys = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Anybody may ask, also on other addresses than this machine's.")
    ] = False,
    certificate: Annotated[Path | None, typer.Option(help="TLS: the certificate, a PEM file.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="TLS: its key, a PEM file.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Requests that are answered at once.")] = 8,
    waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait for that.")] = 64,
    deadline_ms: Annotated[float, typer.Option(min=1, help="Of a request that brings no deadline.")] = 1_000,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Requests a second of each key; default: any.")] = None,
    cache: Annotated[bool, typer.Option(help="Remember items for up to a second.")] = True,
    audit: Annotated[bool, typer.Option(help="Write who asked what, a JSON line each, to standard error.")] = True,
    log_share: Annotated[
        float, typer.Option(min=0, max=1, help="The share of entities whose answers go to the served log.")
    ] = 0.0,
    openapi: Annotated[bool, typer.Option(help="Answer GET /openapi.json.")] = True,
    notice: Annotated[
        float, typer.Option(min=0, help="Seconds to go on after SIGTERM, so that a balancer notices.")
    ] = 0,
    grace: Annotated[float, typer.Option(min=1, help="Seconds that what has begun has to be answered in then.")] = 10,
) -> None:
    """Serve the features of the project's services over HTTP, one process on one port; run as many as you need."""
    from feature_assets.serving.http.access import KeysFile
    from feature_assets.serving.http.call import Serving
    from feature_assets.serving.http.limits import Limits
    from feature_assets.serving.http.server import Listening
    from feature_assets.serving.http.server import serve as run

    if keys is None and host not in _LOCAL and not allow_anonymous:
        raise SettingsError(
            f"--host {host}: without API keys only this machine may ask",
            hint="make a key (feature-assets keys create) and give --keys, or say --allow-anonymous",
        )
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    listening = Listening(host, port, certificate, private_key, notice, grace)
    with open_store(load_project()) as store:
        from feature_assets.online.store import CountsCalls
        from feature_assets.serving.admission import AdmissionOptions
        from feature_assets.serving.async_client import AsyncOnlineClient
        from feature_assets.serving.client import ClientOptions
        from feature_assets.serving.http.call import GRACE
        from feature_assets.serving.item_cache import CacheOptions
        from feature_assets.serving.metrics import ServingMetrics, numbers_of
        from feature_assets.serving.served_log import ServedLogOptions

        metrics = ServingMetrics()
        log = store.served_log(ServedLogOptions(rate=log_share))
        options = ClientOptions(
            admission=AdmissionOptions(concurrency=concurrency, waiting=waiting),
            cache=CacheOptions() if cache else None,
        )
        client = store.client(options, observers=[metrics, log] if log_share else [metrics])
        numbers = numbers_of(client) | ({"served_log": log.numbers} if log_share else {})
        if isinstance(store.online, CountsCalls):
            numbers["store"] = store.online.numbers
        for layer, counted in numbers.items():
            metrics.expose(layer, counted)
        serving = Serving(
            client,
            AsyncOnlineClient(client, grace=GRACE, in_loop=True),
            Limits(deadline=deadline_ms / 1e3, rate=rate),
            store.clock,
            metrics,
            keys=None if keys is None else KeysFile(keys, store.clock),
            audited=audit,
            show_openapi=openapi,
            explain=lambda service, entity, ask: msgspec.json.encode(
                store.explain(entity, service=service, as_of=ask.as_of, features=ask.features or ())
            ),
        )
        reasons = serving.client.warmed(WARM_WITHIN_S)
        serving.warm = not reasons
        for name, reason in reasons.items():
            err.print(f"{name} cannot be answered yet: {reason}")
        try:
            run(serving, listening, lambda: _started(serving, listening))
        finally:
            client.close()
            log.close()


def _started(serving: "Serving", listening: "Listening") -> None:
    who = "anybody on this network" if listening.host not in _LOCAL else "this machine"
    asked = "holders of API keys" if serving.keys is not None else who
    err.print(f"[bold]{listening.address}[/] answers {asked}; Ctrl-C ends it")
    for name, service in serving.services.items():
        err.print(
            f"  {name}: {len(service.output_columns)} features by {', '.join(f.name for f in service.key_columns)}"
        )
    name = next(iter(serving.services), "SERVICE")
    err.print(f"try: curl {listening.address}/v1/services/{name}", soft_wrap=True)


def create(
    *,
    path: InKeys = KEYS_FILE,
    service: Annotated[list[str] | None, typer.Option(help="A service that it may ask; default: all.")] = None,
    verb: Annotated[list[str] | None, typer.Option(help="read, explain or metrics; default: read.")] = None,
    expires: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The UTC day from which it is no good.")
    ] = None,
) -> None:
    """Make an API key. Its token is shown once, and kept nowhere."""
    from feature_assets.serving.http import access

    if service:
        project = load_project()
        for name in service:
            project.service(name)
    until = None if expires is None else expires.replace(tzinfo=UTC)
    key, token = access.create(path, verb or ["read"], service or [access.EVERY], until)
    err.print(f"key {key.id} is in {path}; its token, which is not shown again:")
    out.print(token, soft_wrap=True, highlight=False)


def listed(*, path: InKeys = KEYS_FILE, as_json: Json = False) -> None:
    """The keys in the file, without their secrets."""
    from feature_assets.serving.http.access import read_keys

    keys = read_keys(path)
    if as_json:
        show_json({"keys": [_shown(key) for key in keys.values()]})
        return
    rows = [
        (key.id, ", ".join(sorted(key.verbs)), ", ".join(sorted(key.services)), _shown(key)["expires"] or "never")
        for key in keys.values()
    ]
    show_table(f"API keys in {path}", ("id", "verbs", "services", "expires"), rows)


def _shown(key: "Key") -> dict[str, object]:
    expires = None if key.expires is None else key.expires.isoformat()
    return {"id": key.id, "verbs": sorted(key.verbs), "services": sorted(key.services), "expires": expires}


def revoke(name: Annotated[str, typer.Argument(help="The key's id.")], *, path: InKeys = KEYS_FILE) -> None:
    """Take a key out of the file. Servers notice within a second or two."""
    from feature_assets.serving.http.access import revoke as taken_out

    taken_out(path, name)
    err.print(f"key {name} is no good any more")
