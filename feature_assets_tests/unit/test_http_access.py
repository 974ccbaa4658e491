"""API keys: their file, what they allow, and what everybody else gets."""

import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from feature_assets.cli import app
from feature_assets.clock import ManualClock
from feature_assets.definition.project import Project
from feature_assets.definition.service import FeatureService
from feature_assets.errors import SettingsError, UnknownNameError
from feature_assets.serving.client import OnlineClient
from feature_assets.serving.http import access
from feature_assets.serving.http.access import KeysFile, create, read_keys, revoke
from feature_assets.serving.reader import OnlineReader
from feature_assets_tests.histories import SOURCE, view_of
from feature_assets_tests.http_serving import JSON, Server, client_of, running_server, serving_of
from feature_assets_tests.published import Published, at

ONE = {"entities": [{"airport": "JFK"}]}
CLOCK = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
VALUE = 471_147_114_711


def bearer(token: str) -> dict[str, str]:
    return {**JSON, "authorization": f"Bearer {token}"}


def test_a_key_is_kept_as_a_hash_and_found_by_its_token(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    key, token = create(path, ["read"], ["it"])
    assert path.stat().st_mode & 0o777 == 0o600
    assert token.split("_", 2)[2] not in path.read_text()
    assert token not in path.read_text()
    assert repr(key).count(key.sha256) == 0
    keys = KeysFile(path, CLOCK)
    assert keys.of(f"Bearer {token}") == key
    assert keys.of(token) == key
    last = "A" if token[-1] != "A" else "B"
    for wrong in (None, "", "Bearer ", "Bearer x", f"Bearer {token[:-1]}{last}", f"Bearer {token}x", f"Basic {token}"):
        assert keys.of(wrong) is None, wrong
    other = f"fa_{'0' * 8}_{token.split('_', 2)[2]}"
    assert keys.of(f"Bearer {other}") is None, "the secret of another key"


def test_a_key_expires(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.toml", ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    _, token = create(path, ["read"], ["it"], clock.now() + timedelta(days=1))
    keys = KeysFile(path, clock)
    assert keys.of(token) is not None
    clock.advance(timedelta(days=1))
    assert keys.of(token) is None


def test_keys_are_exchanged_while_the_server_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_LOOKED_AT_EVERY", 0.0)
    path = tmp_path / "keys.toml"
    old, old_token = create(path, ["read"], ["it"])
    keys = KeysFile(path, CLOCK)
    _, new_token = create(path, ["read"], ["it"])
    assert keys.of(old_token) is not None
    assert keys.of(new_token) is not None, "both are good meanwhile"
    revoke(path, old.id)
    assert keys.of(old_token) is None
    path.write_text("[keys.")
    assert keys.of(new_token) is not None, "what the file last said holds"
    path.unlink()
    assert keys.of(new_token) is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[keys.", "keys file"),
        ("keys = 3", "no table"),
        ("[keys.zz]\nsha256 = 'x'", "is none"),
        ("[keys.01234567]\nsha256 = 'x'", "no digest"),
        (f"[keys.01234567]\nsha256 = '{'0' * 64}'\nverbs = 'read'", "verbs is no list"),
        (f"[keys.01234567]\nsha256 = '{'0' * 64}'\nverbs = ['write']", "no verb 'write'"),
        (f"[keys.01234567]\nsha256 = '{'0' * 64}'\nexpires = 2027-01-01T00:00:00", "no instant with a zone"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys.toml"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        read_keys(path)


def test_a_file_that_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    create(path, ["read"], ["it"])
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="others may read it"):
        KeysFile(path, CLOCK)


def test_nothing_is_revoked_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    create(path, ["read"], ["it"])
    with pytest.raises(UnknownNameError):
        revoke(path, "00000000")
    with pytest.raises(UnknownNameError):
        create(path, ["write"], ["it"])


def project_of_two() -> tuple[Project, Published]:
    view, world = view_of("odd", {"airport": pa.string()}, {"a": pa.int64()}), Published()
    world.publish(view, [{"airport": "JFK", "event_at": at(3), "a": 1}])
    services = [FeatureService(name, [view]) for name in ("one", "two")]
    return Project("test", sources=[SOURCE], views=[view], services=services), world


def test_every_token_on_every_route_and_service(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    tokens = {
        "reads one": create(path, ["read"], ["one"])[1],
        "reads all": create(path, ["read"], ["*"])[1],
        "explains one": create(path, ["explain"], ["one"])[1],
        "metrics": create(path, ["metrics"], [])[1],
        "nothing": create(path, [], ["*"])[1],
        "expired": create(path, ["read", "metrics", "explain"], ["*"], datetime(2020, 1, 1, tzinfo=UTC))[1],
        "unknown": f"fa_{'0' * 8}_{'A' * 43}",
        "none": "",
    }
    routes = {
        "one": ("/v1/services/one", ONE),
        "two": ("/v1/services/two", ONE),
        "no service": ("/v1/services/three", ONE),
        "about one": ("/v1/services/one", None),
        "about two": ("/v1/services/two", None),
        "explain one": ("/v1/services/one/explain", ONE),
        "explain two": ("/v1/services/two/explain", ONE),
        "metrics": ("/metrics", None),
    }
    good = {
        ("reads one", "one"),
        ("reads one", "about one"),
        ("reads all", "one"),
        ("reads all", "two"),
        ("reads all", "about one"),
        ("reads all", "about two"),
        ("explains one", "explain one"),
        ("metrics", "metrics"),
    }
    project, world = project_of_two()
    client = OnlineClient(project, OnlineReader(project, world.store, world.ledger, world.clock))
    serving = serving_of(client, world.clock, keys=KeysFile(path, world.clock), explain=lambda *_: b"{}")
    with running_server(serving) as server:
        for who, token in tokens.items():
            known = who not in {"expired", "unknown", "none"}
            for route, (place, body) in routes.items():
                reply = server.ask(place, body, bearer(token) if token else JSON)
                if (who, route) in good:
                    assert reply.status == 200, (who, route, reply.body)
                elif not known:
                    assert reply.status == 401, (who, route)
                    assert reply.headers["www-authenticate"] == "Bearer"
                else:
                    assert reply.status == (403 if route == "metrics" else 404), (who, route)
            listed = server.ask("/v1/services", None, bearer(token) if token else JSON)
            assert listed.status == (200 if known else 401)
            if known:
                names = [one["name"] for one in listed.json["services"]]
                assert names == {"reads one": ["one"], "reads all": ["one", "two"]}.get(who, [])
                documented = server.ask("/openapi.json", None, bearer(token)).json["paths"]
                assert [path for path in documented if path.startswith("/v1/services/")] == [
                    f"/v1/services/{name}" for name in names
                ]
            assert server.ask("/health").status == 200
            assert server.ask("/ready").status == 200
        assert_alike(server, tokens["reads one"])


def assert_alike(server: Server, token: str) -> None:
    """A service that is not there and one that may not be asked look alike."""
    hidden, absent = (server.ask(f"/v1/services/{name}", ONE, bearer(token)) for name in ("two", "six"))
    one, other = hidden.json["error"], absent.json["error"]
    assert (hidden.status, one["code"], one["hint"]) == (absent.status, other["code"], other["hint"])
    assert one["message"].replace("two", "six") == other["message"]


def test_the_audit_log_says_who_asked_what_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys.toml"
    key, token = create(path, ["read"], ["it"])
    view, world = view_of("odd", {"airport": pa.string()}, {"a": pa.int64()}), Published()
    world.publish(view, [{"airport": "CANARY", "event_at": at(3), "a": VALUE}])
    with (
        caplog.at_level(logging.INFO, logger="feature_assets"),
        running_server(serving_of(client_of(world, view), world.clock, keys=KeysFile(path, world.clock))) as server,
    ):
        asked = {"entities": [{"airport": "CANARY"}]}
        assert server.ask("/v1/services/it", asked, {**bearer(token), "x-request-id": "r1"}).json["values"] == {
            "odd__a": [VALUE]
        }
        assert server.ask("/v1/services/it", asked, bearer(token[:-1] + "!")).status == 401
        assert server.ask("/v1/services/CANARYSERVICE", asked, bearer(token)).status == 404
        metrics = server.ask("/metrics", None, bearer(token)).body.decode()
    lines = [json.loads(one.getMessage()) for one in caplog.records if one.name == "feature_assets.audit"]
    assert [(line["status"], line.get("code", ""), line["key"]) for line in lines] == [
        (200, "", key.id),
        (401, "unauthenticated", ""),
        (404, "unknown_service", key.id),
    ]
    first = lines[0]
    assert (first["service"], first["entities"], first["request_id"], first["verb"]) == ("it", 1, "r1", "read")
    everything = "".join(one.getMessage() for one in caplog.records) + metrics
    # A secret may have underscores in it; the value is so long that it is in no request's id by chance.
    for secret in (token, token.split("_", 2)[2], "CANARY", str(VALUE)):
        assert secret not in everything


def test_the_commands(tmp_path: Path) -> None:
    path = str(tmp_path / "keys.toml")
    run = CliRunner()
    made = run.invoke(app, ["keys", "create", "--keys", path, "--verb", "read", "--expires", "2027-01-01"])
    assert made.exit_code == 0, made.output
    token = made.stdout.strip()
    assert KeysFile(Path(path), CLOCK).of(token) is not None
    shown = json.loads(run.invoke(app, ["keys", "list", "--keys", path, "--json"]).stdout)["keys"]
    assert [(one["verbs"], one["services"], one["expires"]) for one in shown] == [
        (["read"], ["*"], "2027-01-01T00:00:00+00:00")
    ]
    assert shown[0]["id"] in run.invoke(app, ["keys", "list", "--keys", path]).stdout
    assert run.invoke(app, ["keys", "revoke", shown[0]["id"], "--keys", path]).exit_code == 0
    assert KeysFile(Path(path), CLOCK).of(token) is None


def test_without_keys_only_this_machine_may_ask() -> None:
    refused = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0"])  # noqa: S104 - it is refused
    assert isinstance(refused.exception, SettingsError)
    assert "without API keys only this machine may ask" in str(refused.exception)
