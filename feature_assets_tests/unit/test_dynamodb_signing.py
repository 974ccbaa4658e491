"""Signatures of calls to DynamoDB: botocore's own, by the credentials of the moment, which no message shows."""

from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, RefreshableCredentials
from hypothesis import given
from hypothesis import strategies as st

from feature_assets.clock import ManualClock
from feature_assets.online.dynamodb_client import FaultError, Kind
from feature_assets.online.dynamodb_signing import Scope, Signer

AT = datetime(2026, 11, 25, 21, 30, tzinfo=UTC)


def as_botocore_signs(monkeypatch: pytest.MonkeyPatch, credentials: Credentials, scope: Scope, body: bytes) -> str:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: AT.replace(tzinfo=None))
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810.BatchGetItem"}
    request = AWSRequest("POST", f"http://{scope.host}/", headers=headers, data=body)
    SigV4Auth(credentials, scope.service, scope.region).add_auth(request)
    return str(request.headers["Authorization"])


@given(
    body=st.binary(max_size=300),
    token=st.none() | st.text("abcXYZ019+/=", min_size=1, max_size=80),
    secret=st.text("abcXYZ019+/=", min_size=1, max_size=60),
    host=st.sampled_from(
        ["dynamodb.eu-central-1.amazonaws.com", "123456789012.ddb.us-east-1.amazonaws.com", "[::1]:8000"]
    ),
    region=st.sampled_from(["eu-central-1", "us-gov-west-1"]),
)
def test_a_signature_is_the_one_that_botocore_makes(
    body: bytes, token: str | None, secret: str, host: str, region: str
) -> None:
    credentials, scope = Credentials("AKIDEXAMPLE", secret, token), Scope(host, region, "dynamodb")
    with pytest.MonkeyPatch.context() as monkeypatch:
        expected = as_botocore_signs(monkeypatch, credentials, scope, body)
    head, _, sent = Signer(credentials, scope, ManualClock(AT)).signed("BatchGetItem", body).partition(b"\r\n\r\n")
    line, *named = head.decode().split("\r\n")
    headers = dict(one.split(":", 1) for one in named)
    assert (line, sent) == ("POST / HTTP/1.1", body)
    assert headers["authorization"] == expected
    assert headers["host"] == host
    assert headers["content-length"] == str(len(body))
    assert headers.get("x-amz-security-token") == token


def test_what_signs_is_of_the_day_and_of_the_credentials_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    expiry = (datetime.now(tz=UTC) + timedelta(hours=6)).isoformat()
    answers = iter(
        {"access_key": f"KEY{at}", "secret_key": "s", "token": f"t{at}", "expiry_time": expiry} for at in range(9)
    )
    credentials = RefreshableCredentials.create_from_metadata(next(answers), lambda: next(answers), "test")
    clock = ManualClock(AT)
    signer = Signer(credentials, Scope("localhost", "eu-central-1", "dynamodb"), clock)
    first = signer.signed("BatchGetItem", b"{}")
    assert b"Credential=KEY0/20261125/" in first
    assert signer.signed("BatchGetItem", b"{}") == first
    clock.advance(timedelta(days=1))
    assert b"Credential=KEY0/20261126/" in signer.signed("BatchGetItem", b"{}")
    with monkeypatch.context() as due:
        due.setattr(credentials, "refresh_needed", lambda *_, **__: True)
        due.setattr(credentials, "_is_expired", lambda: False)
        later = signer.signed("BatchGetItem", b"{}")
    assert b"KEY0" not in later
    assert b"x-amz-security-token:t0" not in later
    assert "KEY" not in repr(signer)


@pytest.mark.parametrize("token", ["two words", "line\r\nX-Injected: yes", "ümlaut"])
def test_credentials_that_no_header_can_have_are_refused(token: str) -> None:
    signer = Signer(
        Credentials("key", "secret", token), Scope("localhost", "eu-central-1", "dynamodb"), ManualClock(AT)
    )
    with pytest.raises(FaultError, match="characters") as raised:
        signer.signed("BatchGetItem", b"{}")
    assert raised.value.kind is Kind.REFUSED
    assert token not in str(raised.value)


def test_credentials_that_are_due_are_not_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    scope, clock = Scope("localhost", "eu-central-1", "dynamodb"), ManualClock(AT)
    assert Signer(Credentials("key", "secret"), scope, clock).is_at_hand
    assert not Signer(None, scope, clock).is_at_hand
    expiry = (datetime.now(tz=UTC) + timedelta(hours=6)).isoformat()
    found = {"access_key": "key", "secret_key": "s", "token": "t", "expiry_time": expiry}
    credentials = RefreshableCredentials.create_from_metadata(found, lambda: found, "test")
    signer = Signer(credentials, scope, clock)
    assert signer.is_at_hand
    monkeypatch.setattr(credentials, "_expiry_time", datetime.now(tz=UTC) + timedelta(minutes=1))
    assert not signer.is_at_hand
