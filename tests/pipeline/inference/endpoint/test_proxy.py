"""Calls through an HTTP proxy on loopback, which the endpoint's name leads through only."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.inference.endpoint.client import EndpointClient, EndpointConfig
from pipeline.inference.endpoint.proxy import proxy_for
from pipeline.options.address import Address
from pipeline.request.errors import EndpointError, TransientError
from tests.certificates import server_context
from tests.integration.google_token import TokenServer
from tests.pipeline.inference.endpoint.http_proxy import HttpProxy
from tests.pipeline.inference.endpoint.server import ScriptedEndpoint
from tests.pipeline.inference.endpoint.test_client import PATIENT, assert_right, predict, requests

# A name that no DNS knows: only the proxy finds the way.
HOST = "endpoint.test"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
TOKEN = "token-1"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedEndpoint]:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with ScriptedEndpoint(server_context(tmp_path, HOST)) as server:
        yield server


@pytest.fixture
def proxy(secure: ScriptedEndpoint) -> Iterator[HttpProxy]:
    with HttpProxy("127.0.0.1", secure.port) as proxy:
        yield proxy


def call(address: Address, **policy: float) -> None:
    """Have three requests served."""
    client = EndpointClient(EndpointConfig(address, "predict", 10, 8, replace(PATIENT, **policy)))
    try:
        assert_right(predict(client, requests(3)), 3)
    finally:
        client.close()


def test_by_https_it_sees_neither_token_nor_body(
    proxy: HttpProxy, secure: ScriptedEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss@{proxy.address}")
    with TokenServer() as tokens:
        tokens.write_key(tmp_path / "key.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        call(Address(f"https://{HOST}/predict", needs_token=True))
    assert secure.tokens == [f"Bearer {TOKEN}"]
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT {HOST}:443 ")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'user:p@ss').decode()}\r\n" in head
    assert TOKEN not in head
    assert proxy.tunnelled
    assert TOKEN.encode() not in proxy.tunnelled
    assert b"instances" not in proxy.tunnelled
    assert "Proxy-Authorization" not in secure.heads[0]


def test_by_http_it_passes_calls_on(endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    with HttpProxy("127.0.0.1", endpoint.port) as proxy:
        monkeypatch.setenv("http_proxy", f"user:pass@{proxy.address}")
        call(Address(f"http://{HOST}/predict", needs_token=False))
    assert proxy.heads[0].startswith(f"POST http://{HOST}/predict ")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'user:pass').decode()}\r\n" in proxy.heads[0]
    assert "\r\nAuthorization:" not in proxy.heads[0]


@pytest.mark.parametrize("needs_token", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2", "[::1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_calls_within_the_machine_go_through_none(
    scheme: str, host: str, needs_token: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert proxy_for(Address(f"{scheme}://{host}:8080/predict", needs_token)) is None


def test_no_token_goes_to_one_in_clear_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags allow no such address (`pipeline.options.address`)."""
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert proxy_for(Address(f"http://{HOST}/predict", needs_token=True)) is None


@pytest.mark.parametrize(
    ("no_proxy", "straight"),
    [
        (HOST, True),
        (".test", True),
        ("*", True),
        (f"{HOST}:443", True),
        (f"{HOST}:80", False),
        ("x.test", False),
    ],
)
def test_no_proxy(no_proxy: str, straight: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    found = proxy_for(Address(f"https://{HOST}/predict", needs_token=True))
    assert (found is None) is straight
    assert found is None or found.url == "http://proxy:80"


@pytest.mark.parametrize(
    "text", ["socks5://proxy:1080", "http://", "http://proxy:port", "http://u:secret@:1"]
)
def test_what_is_no_proxy(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", text)
    with pytest.raises(EndpointError, match="^HTTPS_PROXY names no proxy for HTTP") as caught:
        call(Address(f"https://{HOST}/predict", needs_token=False))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("407 Proxy Authentication Required", "HTTPS_PROXY.* answered 407 .* wants a user and a password"),
        ("403 Forbidden", f"HTTPS_PROXY.* answered 403 Forbidden: it opens no way to {HOST}"),
    ],
)
def test_one_that_refuses(answer: str, words: str, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.answer = answer
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@{proxy.address}")
    with pytest.raises(EndpointError, match=words) as caught:
        call(Address(f"https://{HOST}/predict", needs_token=False))
    assert "secret" not in str(caught.value)


def test_one_that_cannot_for_now(
    proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.answer = "502 Bad Gateway"
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@{proxy.address}")
    caplog.set_level("INFO", "pipeline")
    with pytest.raises(TransientError, match=f"answered 502 Bad Gateway, asked for a way to {HOST}"):
        call(Address(f"https://{HOST}/predict", needs_token=False), deadline_s=0.3)
    assert f"go through the proxy http://{proxy.address} (HTTPS_PROXY)" in caplog.messages[0]
    assert "secret" not in caplog.text


@pytest.mark.parametrize("server", ["127.0.0.1:1", "nowhere.invalid:3128"])
def test_one_that_is_not_there(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{server}")
    words = rf"proxy http://{server} \(HTTPS_PROXY\) cannot be reached .*Check that variable, or NO_PROXY"
    with pytest.raises(TransientError, match=words):
        call(Address(f"https://{HOST}/predict", needs_token=False), deadline_s=0.3)


def test_no_proxy_sees_a_token_that_comes_by_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of the metadata server do."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with TokenServer() as tokens, ScriptedEndpoint() as endpoint:
        tokens.write_key(tmp_path / "key.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        call(Address(f"{endpoint.address}/predict", needs_token=True))
    assert endpoint.tokens == [f"Bearer {TOKEN}"]
