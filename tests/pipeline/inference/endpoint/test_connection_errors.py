"""What the log and the end of the job say where there is no HTTP answer, by real connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.inference.endpoint import attempt
from pipeline.inference.endpoint.client import EndpointClient, EndpointConfig
from pipeline.options.address import Address
from pipeline.request.errors import EndpointError, TransientError
from tests.certificates import server_context
from tests.pipeline.inference.endpoint.server import ScriptedEndpoint
from tests.pipeline.inference.endpoint.test_client import PATIENT, assert_right, predict, requests
from tests.waiting import LIMIT_S

BRIEF = replace(PATIENT, deadline_s=0.3)

Call = Callable[[str], None]


@pytest.fixture
def call() -> Iterator[Call]:
    clients: list[EndpointClient] = []

    def call(url: str) -> None:
        """Send three requests to `url`."""
        clients.append(EndpointClient(EndpointConfig(Address(url, False), "predict", 10, 8, BRIEF)))
        assert_right(predict(clients[-1], requests(3)), 3)

    yield call
    for client in clients:
        client.close()


@contextmanager
def raw_server(answer: bytes) -> Iterator[int]:
    """Serve on loopback, answer whatever comes with these bytes, hang up; yield the port."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return  # closed
            with closing(connection):
                connection.recv(65_536)
                connection.sendall(answer)

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(LIMIT_S)


def assert_told(caplog: pytest.LogCaptureFixture, *words: str) -> None:
    """Assert that one line of the log has these words, and that it is the first."""
    assert len(caplog.records) == 1
    for word in words:
        assert word in caplog.messages[0]


def test_nothing_listens(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TransientError, match="nothing listens at 127.0.0.1:1 "):
        call("http://127.0.0.1:1/predict")
    assert_told(
        caplog, "nothing listens at 127.0.0.1:1 (connection refused). Check that it runs, and the port"
    )


def test_a_name_that_is_not_known(
    call: Call, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    with pytest.raises(TransientError, match="the name nowhere.invalid is not known here"):
        call("http://nowhere.invalid/predict")
    assert_told(caplog, "the name nowhere.invalid is not known here", "--endpoint_url", "this machine's DNS")


def test_a_way_that_is_blocked(
    call: Call, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose queue of connections is full drops further ones, as a firewall does."""
    monkeypatch.setattr(attempt, "CONNECT_TIMEOUT_S", 0.1)
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as server:
        address = server.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        with pytest.raises(TransientError, match="no connection to .* within 0.1 s"):
            call(f"http://127.0.0.1:{address[1]}/predict")
        for each in waiting:
            each.close()
    assert_told(caplog, f"no connection to 127.0.0.1:{address[1]} within 0.1 s", "firewall and VPC")


def test_a_server_that_hangs_up(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    with raw_server(b"") as port, pytest.raises(TransientError):
        call(f"http://127.0.0.1:{port}/predict")
    assert_told(caplog, "the server closed the connection without an answer")


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ScriptedEndpoint]]:
    """Return a function that starts a server of TLS on loopback."""
    running: list[ScriptedEndpoint] = []
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    def start(host: str = "localhost", *, expired: bool = False) -> ScriptedEndpoint:
        running.append(ScriptedEndpoint(server_context(tmp_path, host, expired=expired)))
        return running[-1].__enter__()

    yield start
    for server in running:
        server.__exit__(None, None, None)


Secure = Callable[..., ScriptedEndpoint]


def test_a_certificate_that_nobody_vouches_for(
    secure: Secure, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    server = secure()
    with pytest.raises(
        EndpointError, match=r"is not accepted \(self-signed certificate\)\. .* SSL_CERT_FILE"
    ):
        call(f"https://localhost:{server.port}/predict")
    assert caplog.messages == []  # nothing was tried again


def test_one_that_ssl_cert_file_vouches_for(
    secure: Secure, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = secure()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    call(f"https://localhost:{server.port}/predict")
    assert server.sizes == [3]


@pytest.mark.parametrize(
    ("host", "expired", "words"),
    [
        ("other.test", False, "Hostname mismatch.*Call the server by a name that its certificate holds"),
        ("localhost", True, "certificate has expired.*Have it renewed, or check this machine's clock"),
    ],
)
def test_one_that_does_not_fit(
    host: str, expired: bool, words: str, secure: Secure, call: Call, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    server = secure(host, expired=expired)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with pytest.raises(EndpointError, match=words):
        call(f"https://localhost:{server.port}/predict")


def test_a_file_of_certificates_that_is_not_there(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(EndpointError, match=r"^SSL_CERT_FILE: .*none.pem' cannot be read \(No such file"):
        call("https://localhost:1/predict")


def test_a_server_without_tls(endpoint: ScriptedEndpoint, call: Call) -> None:
    with pytest.raises(EndpointError, match="the server speaks no TLS .* or give http://"):
        call(f"https://127.0.0.1:{endpoint.port}/predict")


def alert(number: int) -> bytes:
    """Return a fatal alert of TLS: https://www.iana.org/assignments/tls-parameters."""
    return bytes([21, 3, 1, 0, 2, 2, number])


def test_a_server_of_tls_that_is_called_by_http(call: Call) -> None:
    """Those of OpenSSL send an alert or hang up; nginx and Go complain by HTTP (test_blame)."""
    words = "the server speaks TLS. Give --endpoint_url with https://"
    with raw_server(alert(70)) as port, pytest.raises(EndpointError, match=words):
        call(f"http://127.0.0.1:{port}/predict")


@pytest.mark.parametrize("number", [40, 70, 112], ids=["handshake", "version", "name"])
def test_a_server_of_another_tls(number: int, call: Call) -> None:
    with (
        raw_server(alert(number)) as port,
        pytest.raises(EndpointError, match="refuses TLS as this job speaks"),
    ):
        call(f"https://127.0.0.1:{port}/predict")


def test_trouble_of_tls_that_may_pass(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    with (
        raw_server(alert(80)) as port,
        pytest.raises(TransientError, match="TLS with .* failed .*INTERNAL_ERROR"),
    ):
        call(f"https://127.0.0.1:{port}/predict")
    assert len(caplog.messages) == 1
