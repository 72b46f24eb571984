"""The test kit, as someone else's tests use it."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import grpc
import pytest

from broker import testing
from broker.testing import embedded_broker, google_emulator, why_no_emulator
from pipeline.pubsub import protos
from tests.waiting import LIMIT_S, wait_until

ROOT = Path(__file__).parents[2]


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def install_gcloud(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Put a gcloud of our own, and nothing else, before what PATH has."""
    executable(folder / "gcloud", text)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def listener() -> str:
    """Return a gcloud whose child listens, as java does."""
    child = textwrap.dedent("""
        import socket, sys, time
        host, _, port = sys.argv[1].removeprefix("--host-port=").partition(":")
        with socket.create_server((host, int(port))):
            time.sleep(600)
    """)
    return f'#!/bin/sh\n{shlex.quote(sys.executable)} -c {shlex.quote(child)} "$5" &\nwait\n'


def listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as attempt:
        return attempt.connect_ex((host, int(port))) == 0


def topics(address: str) -> int:
    with grpc.insecure_channel(address) as channel:
        answer = channel.unary_unary(
            "/google.pubsub.v1.Publisher/ListTopics",
            request_serializer=protos.ListTopicsRequest.SerializeToString,
            response_deserializer=protos.ListTopicsResponse.FromString,
        )(protos.ListTopicsRequest(project="projects/my-project"), timeout=LIMIT_S)
    return len(answer.topics)


@pytest.mark.slow
def test_the_example_passes_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """With a module in that folder that has the broker's name, and without an emulator."""
    assert testing.__doc__ is not None
    example = "\n".join(line[4:] for line in testing.__doc__.splitlines() if line.startswith("    "))
    (tmp_path / "test_orders.py").write_text(example)
    (tmp_path / "broker.py").write_text("raise SystemExit('not this one')")
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-rs",
            "-p",
            "no:cacheprovider",
            "--import-mode=importlib",
            ".",
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert "2 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert "there is no java" in done.stdout


class TestEmbeddedBroker:
    def test_it_serves_and_is_gone_afterwards(self) -> None:
        with embedded_broker() as broker:
            assert broker.name == "embedded"
            assert topics(broker.address) == 0
        with pytest.raises(grpc.RpcError):
            topics(broker.address)
        with pytest.raises(ProcessLookupError):
            os.killpg(broker.group, 0)

    def test_one_that_ends_at_once(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        executable(tmp_path / "python", "#!/bin/sh\nexit 7\n")
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        with pytest.raises(RuntimeError, match="ended at once with exit code 7"), embedded_broker():
            pass

    @pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
    def test_its_processor_time(self) -> None:
        with embedded_broker() as broker:
            started = broker.cpu_seconds()
            assert started > 0  # it has imported gRPC
            wait_until(lambda: topics(broker.address) == 0 and broker.cpu_seconds() > started)
        assert broker.cpu_seconds() == 0


class TestWhyNoEmulator:
    def test_what_is_missing(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """One after the other is put in place."""
        sdk = tmp_path / "sdk"
        monkeypatch.setenv("PATH", str(sdk / "bin"))
        assert why_no_emulator() == "there is no java"
        executable(sdk / "bin/java", "")
        assert why_no_emulator() == "there is no gcloud"
        executable(sdk / "bin/gcloud", "")
        assert "components install pubsub-emulator" in (why_no_emulator() or "")
        (sdk / "platform/pubsub-emulator").mkdir(parents=True)
        assert why_no_emulator() is None


class TestGoogleEmulator:
    def test_the_child_of_gcloud_ends_too(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        install_gcloud(monkeypatch, tmp_path, listener())
        with google_emulator() as broker:
            assert broker.name == "emulator"
            assert listens(broker.address)
        wait_until(lambda: not listens(broker.address))

    def test_one_that_ends_at_once(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        install_gcloud(monkeypatch, tmp_path, "#!/bin/sh\nexit 3\n")
        with pytest.raises(RuntimeError, match="ended at once with exit code 3"), google_emulator():
            pass

    def test_one_that_does_not_listen(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        install_gcloud(monkeypatch, tmp_path, "#!/bin/sh\nexec sleep 600\n")
        monkeypatch.setattr(testing, "START_WITHIN_S", 0.3)
        with pytest.raises(RuntimeError, match=r"did not listen within 0.3 s"), google_emulator():
            pass
