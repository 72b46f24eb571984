"""Tokens from a token server on loopback, by google-auth's own credentials."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2.credentials import Credentials as UserCredentials
from google.oauth2.service_account import Credentials

from pipeline.inference.endpoint import token as module
from pipeline.inference.endpoint.client import EndpointClient, EndpointConfig
from pipeline.inference.endpoint.retry_policy import RetryPolicy
from pipeline.inference.endpoint.token import SCOPE, TokenSource
from pipeline.options.address import Address
from pipeline.request.errors import EndpointError, TransientError
from tests.certificates import server_context
from tests.integration.google_token import TokenServer
from tests.pipeline.inference.endpoint.server import ScriptedEndpoint
from tests.pipeline.inference.endpoint.test_client import PATIENT, assert_right, predict, requests
from tests.waiting import wait_until


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServer]:
    with TokenServer() as server:
        server.write_key(tmp_path / "key.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        yield server


def test_the_first_token_is_there_at_once(server: TokenServer) -> None:
    source = TokenSource.default()
    assert source.current == "token-1"
    source.close()


def test_renewed_before_it_expires(tmp_path: Path) -> None:
    with TokenServer(lifetime_s=2) as server:
        server.write_key(tmp_path / "key.json")
        source = TokenSource(
            Credentials.from_service_account_file(str(tmp_path / "key.json"), scopes=[SCOPE])
        )
        wait_until(lambda: source.current == "token-2")
        source.close()


def test_a_refused_token_is_renewed_once(server: TokenServer) -> None:
    source = TokenSource.default()
    for _ in range(10):
        source.refused("token-1")
    wait_until(lambda: source.current == "token-2")
    source.refused("token-1")  # by a call that began before
    source.refused("token-2")
    wait_until(lambda: source.current == "token-3")
    source.close()
    assert server.exchanges == 3


@pytest.mark.parametrize("expires_in", ["soon", [], 10**20], ids=["ValueError", "TypeError", "OverflowError"])
def test_renewing_goes_on_whatever_goes_wrong(
    expires_in: object,
    server: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A spell of failures is told once, and its end."""
    caplog.set_level("INFO", "pipeline")
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.01)
    source = TokenSource.default()

    def spell() -> None:
        token, exchanges = source.current, server.exchanges
        server.expires_in = expires_in
        source.refused(token)
        wait_until(lambda: server.exchanges >= exchanges + 3)
        server.expires_in = 3600
        wait_until(lambda: source.current != token)

    spell()
    spell()
    wait_until(lambda: len(caplog.records) == 4)
    source.close()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * 2
    assert "could not renew the access token" in caplog.messages[0]


def test_a_token_that_is_good_for_ages(tmp_path: Path) -> None:
    with TokenServer(lifetime_s=10**11) as server:
        server.write_key(tmp_path / "key.json")
        source = TokenSource(
            Credentials.from_service_account_file(str(tmp_path / "key.json"), scopes=[SCOPE])
        )
        source.refused("token-1")
        wait_until(lambda: source.current == "token-2")
        source.refused("token-2")
        wait_until(lambda: source.current == "token-3")
        source.close()


def test_calls_carry_it_and_get_a_new_one(server: TokenServer, endpoint: ScriptedEndpoint) -> None:
    endpoint.accept_token = server.accepts
    client = _client(endpoint, PATIENT)
    assert_right(predict(client, requests(40)), 40)
    assert set(endpoint.tokens) == {"Bearer token-1"}
    server.revoke()
    assert_right(predict(client, requests(40)), 40)
    assert endpoint.tokens[-1] == "Bearer token-2"
    assert server.exchanges == 2
    client.close()


class TestQuotaProject:
    def test_that_of_the_environment_is_sent(
        self, server: TokenServer, endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "other-project")
        assert self._sent(endpoint) == "other-project"

    def test_that_of_a_users_own_credentials_is_sent(
        self,
        server: TokenServer,
        endpoint: ScriptedEndpoint,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As `gcloud auth application-default login` writes them."""
        user = {
            "type": "authorized_user",
            "client_id": "c",
            "client_secret": "s",
            "refresh_token": "r",
            "quota_project_id": "users-project",
        }
        (tmp_path / "user.json").write_text(json.dumps(user))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "user.json"))
        monkeypatch.setattr(UserCredentials, "refresh", lambda self, request: setattr(self, "token", "t"))
        assert self._sent(endpoint) == "users-project"

    def test_without_one_none_is_sent(self, server: TokenServer, endpoint: ScriptedEndpoint) -> None:
        assert self._sent(endpoint) is None

    def _sent(self, endpoint: ScriptedEndpoint) -> str | None:
        client = _client(endpoint, PATIENT)
        assert_right(predict(client, requests(2)), 2)
        client.close()
        assert endpoint.tokens[0] is not None
        return endpoint.heads[0].get("x-goog-user-project")


def test_a_new_token_that_is_refused_too_ends_the_job(
    server: TokenServer, endpoint: ScriptedEndpoint
) -> None:
    endpoint.accept_token = lambda token: False
    client = _client(endpoint, PATIENT)
    with pytest.raises(EndpointError, match=r"refuses the access tokens .* \(401\), a new one too"):
        predict(client, requests(5))
    client.close()


def test_no_token_server(server: TokenServer, tmp_path: Path) -> None:
    key = json.loads((tmp_path / "key.json").read_text())
    (tmp_path / "key.json").write_text(json.dumps({**key, "token_uri": "http://127.0.0.1:1/token"}))
    with pytest.raises(TransientError, match="no Google access token"):
        TokenSource.default()


def test_a_token_servers_certificate_that_is_not_accepted(server: TokenServer, tmp_path: Path) -> None:
    with ScriptedEndpoint(server_context(tmp_path, "localhost")) as secure:
        key = json.loads((tmp_path / "key.json").read_text())
        url = f"https://localhost:{secure.port}/token"
        (tmp_path / "key.json").write_text(json.dumps({**key, "token_uri": url}))
        with pytest.raises(EndpointError, match="CERTIFICATE_VERIFY_FAILED.* let REQUESTS_CA_BUNDLE name"):
            TokenSource.default()


def test_credentials_that_are_refused(server: TokenServer, tmp_path: Path) -> None:
    another = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ours = json.loads((tmp_path / "key.json").read_text())
    (tmp_path / "key.json").write_text(json.dumps({**ours, "private_key": another.decode()}))
    with pytest.raises(EndpointError, match="no Google access token.*invalid_grant"):
        TokenSource.default()


def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(EndpointError, match="run `gcloud auth application-default login`"):
        TokenSource.default()


def _client(endpoint: ScriptedEndpoint, retry_policy: RetryPolicy) -> EndpointClient:
    return EndpointClient(
        EndpointConfig(Address(f"{endpoint.address}/v1/x", True), "predict", 10, 8, retry_policy)
    )
