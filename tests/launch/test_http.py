"""The access token goes to the address that was asked for, and to no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from launch.__main__ import main
from launch.cloud import rest
from launch.cloud.http import base_url
from launch.cloud.monitoring import Monitoring
from launch.cloud.rest import Rest
from launch.cloud.shell import CommandError, Shell
from launch.settings.setting import SettingsError
from pipeline.options.google_api import MONITORING_OVERRIDE
from tests.launch.conftest import ENVIRON
from tests.loopback import QuietHandler, serving

# Those that Python's own opener follows.
REDIRECTS = (301, 302, 303, 307, 308)


class Recorder:
    """A server on loopback that keeps each request, and answers 200 or with a redirect to `location`."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.requests: list[tuple[str, str, str | None]] = []
        self.quota_projects: list[str | None] = []
        self.redirect: tuple[int, str] | None = None


@contextmanager
def recorder() -> Iterator[Recorder]:
    class Handler(QuietHandler):
        def answer(self) -> None:
            found.requests.append((self.command, self.path, self.headers["Authorization"]))
            found.quota_projects.append(self.headers["x-goog-user-project"])
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            body = b'{"done": true, "timeSeries": []}'
            status, location = found.redirect or (200, None)
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_CONNECT = answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Recorder(server.server_port)
    with serving(server):
        yield found


@pytest.fixture
def asked() -> Iterator[Recorder]:
    with recorder() as server:
        yield server


@pytest.fixture
def elsewhere() -> Iterator[Recorder]:
    with recorder() as server:
        yield server


@pytest.fixture(autouse=True)
def with_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shell, "run", lambda self, argv: "a-token\n")


def read_metrics() -> None:
    Monitoring(Shell(dry_run=False), "shop-project").latest("system_lag", "job")


def change_an_endpoint() -> None:
    Rest(Shell(dry_run=False), "shop-project", "us-central1").change("changing it", "v1", "endpoints/1", {})


CALLS = pytest.mark.parametrize(
    ("variable", "call"),
    [(MONITORING_OVERRIDE, read_metrics), (rest.OVERRIDE, change_an_endpoint)],
    ids=["monitoring", "rest"],
)


@CALLS
@pytest.mark.parametrize("status", REDIRECTS)
def test_no_redirect_is_followed(
    variable: str,
    call: Callable[[], None],
    status: int,
    asked: Recorder,
    elsewhere: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, asked.address)
    asked.redirect = (status, f"{elsewhere.address}/v1/stolen")
    with pytest.raises((OSError, CommandError)) as caught:
        call()
    assert [token for _, _, token in asked.requests] == ["Bearer a-token"]
    assert elsewhere.requests == []
    said = str(caught.value)
    assert f"answered {status}, a redirect to {elsewhere.address}. It was not followed" in said
    assert "your access token" in said
    assert "a-token" not in said.replace("your access token", "")


@CALLS
@pytest.mark.parametrize(
    "location", ["/v1/other", "https://x\x7f.example/", "ftp://x/", "file:///etc/passwd"]
)
def test_nor_one_within_the_server_or_to_another_scheme(
    variable: str, call: Callable[[], None], location: str, asked: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, asked.address)
    asked.redirect = (302, location)
    with pytest.raises((OSError, CommandError)) as caught:
        call()
    assert len(asked.requests) == 1
    assert str(caught.value).isprintable()


@CALLS
def test_without_one_the_token_arrives(
    variable: str, call: Callable[[], None], asked: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, f"{asked.address}/")
    call()
    ((_, path, token),) = asked.requests
    assert (path.startswith("/v"), token) == (True, "Bearer a-token")


@CALLS
@pytest.mark.parametrize(
    ("configured", "sent"),
    [
        ("", None),
        ("LEGACY", None),
        ("billed-project", "billed-project"),
        ("CURRENT_PROJECT", "shop-project"),
        ("CURRENT_PROJECT_WITH_FALLBACK", "shop-project"),
    ],
)
def test_the_quota_project_of_gcloud_is_sent(
    variable: str,
    call: Callable[[], None],
    configured: str,
    sent: str | None,
    asked: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Shell, "run", lambda self, argv: f"a-token\t{configured}\n")
    monkeypatch.setenv(variable, asked.address)
    call()
    assert [token for _, _, token in asked.requests] == ["Bearer a-token"]
    assert asked.quota_projects == [sent]


@CALLS
def test_no_proxy_sees_a_call_within_this_machine(
    variable: str,
    call: Callable[[], None],
    asked: Recorder,
    elsewhere: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", elsewhere.address)
    monkeypatch.setenv(variable, asked.address)
    call()
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    "text",
    ["http://example.com", "http://127.0.0.1.example.com/", "http://localhost.evil:80", "http://[::2]/"],
)
def test_no_token_in_clear_text(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARIABLE", text)
    with pytest.raises(SettingsError, match="^VARIABLE: .* in clear text: use https$"):
        base_url("VARIABLE", "https://google")


@pytest.mark.parametrize(
    "text", ["example.com", "ftp://x", "-o/etc/passwd", "https://user:pw@x", "https://x?a"]
)
def test_what_is_no_address_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARIABLE", text)
    with pytest.raises(SettingsError, match="^VARIABLE: .* is not a URL"):
        base_url("VARIABLE", "https://google")


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("", "https://google"),
        ("https://x.example/", "https://x.example"),
        ("http://localhost:1/", "http://localhost:1"),
        ("http://[::1]:1", "http://[::1]:1"),
    ],
)
def test_addresses(text: str, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARIABLE", text)
    assert base_url("VARIABLE", "https://google") == base


def test_the_user_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(rest.OVERRIDE, "http://example.com")
    argv = ["endpoint", "update", "--endpoint=1", "--max-replicas=2", "--dry-run"]
    assert main(argv, ENVIRON, tmp_path / "none") == 2
    assert f"{rest.OVERRIDE}: 'http://example.com' would get" in capsys.readouterr().err
