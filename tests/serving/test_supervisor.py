"""The container as a process: how it starts, spreads calls, replaces workers, drains and ends."""

from __future__ import annotations

import http.client
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import torch

from tests.serving.conftest import Start
from tests.serving.container import (
    JSON,
    ROOT,
    Serving,
    ask,
    call,
    hang_up,
    instances,
    is_alive,
    loading,
    puppet,
)
from tests.serving.models import DIE, PID, WAIT
from tests.waiting import LIMIT_S, wait_until

pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "examples" / "breast_cancer"


class Pool:
    """Connections that stay open, and which worker process answers on each."""

    def __init__(self, serving: Serving, connections: int) -> None:
        self._open = [
            http.client.HTTPConnection(serving.address, timeout=LIMIT_S) for _ in range(connections)
        ]

    def pids(self) -> list[int]:
        """One call on each."""
        answers = [ask(one, "POST", "/predict", instances([PID]), JSON) for one in self._open]
        assert {answer.status for answer in answers} == {200}
        return [int(answer.json["predictions"][0]) for answer in answers]

    def close(self) -> None:
        for one in self._open:
            hang_up(one)


@pytest.fixture(scope="module")
def puppet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("puppet")


@pytest.fixture(scope="module")
def two_workers(start: Start, puppet_folder: Path) -> Serving:
    return start(*puppet(puppet_folder), "--workers=2", "--max_batch_size=4").ready()


def test_health_is_503_until_every_worker_is_warm(start: Start, tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    serving = start(*puppet(tmp_path), "--workers=2", "--drain_s=0").listening()
    first, second = loading(tmp_path, 2)
    assert serving.health() == 503
    assert serving.predict([PID]).status == 503
    (tmp_path / f"load-{first}").touch()
    # The one that is warm is asked first.
    wait_until(lambda: serving.predict([PID]).status == 200)
    assert serving.health() == 503
    (tmp_path / f"load-{second}").touch()
    wait_until(lambda: serving.health() == 200)
    serving.process.terminate()
    assert serving.wait() == 0


def test_connections_are_spread_evenly(two_workers: Serving) -> None:
    with closing(Pool(two_workers, 6)) as pool:
        pids = pool.pids()
        assert len(set(pids)) == 2
        assert pids.count(pids[0]) == 3
        assert pool.pids() == pids
        # Those that come and go in between do not count.
        for _ in range(3):
            assert two_workers.health() == 200
        with closing(Pool(two_workers, 2)) as more:
            assert set(more.pids()) == set(pids)


def test_every_status_through_the_whole_container(two_workers: Serving) -> None:
    assert two_workers.predict([PID]).status == 200
    assert two_workers.predict([PID, 1]).status == 400
    assert two_workers.predict(*[[PID]] * 5).status == 413
    assert call(two_workers.address, "POST", "/predict", b"x", "text/plain").status == 415


def test_a_worker_that_dies_is_replaced(two_workers: Serving, puppet_folder: Path) -> None:
    with closing(Pool(two_workers, 2)) as pool:
        before = set(pool.pids())
    (puppet_folder / "hold").touch()
    with closing(http.client.HTTPConnection(two_workers.address, timeout=LIMIT_S)) as connection:
        victim = int(ask(connection, "POST", "/predict", instances([PID]), JSON).json["predictions"][0])
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            ask(connection, "POST", "/predict", instances([DIE]), JSON)
    (newcomer,) = loading(puppet_folder, 1)
    # Meanwhile, the other one serves all there is, and says so.
    assert two_workers.health() == 200
    with closing(Pool(two_workers, 3)) as pool:
        assert set(pool.pids()) == before - {victim}
    (puppet_folder / f"load-{newcomer}").touch()
    (puppet_folder / "hold").unlink()
    wait_until(lambda: answering(two_workers, 4) == before - {victim} | {newcomer})
    assert re.search(r"worker \d ended by signal 9: replacing it", two_workers.log)


def answering(serving: Serving, connections: int) -> set[int]:
    """Return the processes that answer on so many connections."""
    with closing(Pool(serving, connections)) as pool:
        return set(pool.pids())


def test_without_its_supervisor_no_worker_stays(start: Start, tmp_path: Path) -> None:
    serving = start(*puppet(tmp_path), "--workers=1").ready()
    pid = int(serving.predict([PID]).json["predictions"][0])
    assert is_alive(pid)
    serving.process.kill()
    serving.wait()
    wait_until(lambda: not is_alive(pid))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_draining_finishes_what_is_in_flight(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    # No drain time at all: what ends the process is the call in flight, not the clock.
    serving = start(*puppet(tmp_path), "--workers=1", "--drain_s=0").ready()
    worker = int(serving.predict([PID]).json["predictions"][0])
    with ThreadPoolExecutor(1) as caller:
        waiting = caller.submit(serving.predict, [WAIT], [PID])
        wait_until((tmp_path / "entered").exists)
        serving.process.send_signal(number)
        wait_until(lambda: refused(serving.address))
        assert serving.process.poll() is None
        (tmp_path / "gate").touch()
        answer = waiting.result()
    assert (answer.status, len(answer.json["predictions"])) == (200, 2)
    assert serving.wait() == 0
    assert not is_alive(worker)


def test_while_draining_health_is_503_and_predictions_go_on(start: Start, tmp_path: Path) -> None:
    # Longer than the test: the second signal ends it.
    serving = start(*puppet(tmp_path), "--workers=1", "--drain_s=600").ready()
    worker = int(serving.predict([PID]).json["predictions"][0])
    with ExitStack() as open_ones:
        kept = http.client.HTTPConnection(serving.address, timeout=LIMIT_S)
        open_ones.enter_context(closing(kept))
        assert ask(kept, "GET", "/health").status == 200
        serving.process.terminate()
        wait_until(lambda: serving.health() == 503)
        assert ask(kept, "GET", "/health").status == 503
        answer = ask(kept, "POST", "/predict", instances([PID]), JSON)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert serving.predict([PID]).status == 200
    serving.process.terminate()
    assert serving.wait() == 1
    assert "a second signal" in serving.log
    wait_until(lambda: not is_alive(worker))


def refused(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=LIMIT_S).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_signal_before_the_model_is_loaded_ends_it_at_once(start: Start) -> None:
    serving = start(EXAMPLE, "--workers=1", "--drain_s=600").listening()
    serving.process.terminate()
    assert serving.wait() == 0


def test_a_model_that_does_not_load(start: Start) -> None:
    serving = start(EXAMPLE, "--workers=2", "--input_shape=31", "--drain_s=600")
    assert serving.wait() == 2
    lines = [line for line in serving.log.splitlines() if line.startswith("serving: ")]
    assert len(lines) == 1
    assert "model.pt2 fails on 1 rows of zeros" in lines[0]
    assert "Traceback" not in serving.log


def test_a_gpu_that_is_not_there(start: Start) -> None:
    serving = start(EXAMPLE, "--workers=1", "--device=gpu", "--drain_s=600", CUDA_VISIBLE_DEVICES="")
    assert serving.wait() == 2
    assert "serving: --device=gpu: " in serving.log


def test_precision(start: Start) -> None:
    serving = start(EXAMPLE, "--workers=1", "--precision=bf16").ready()
    assert serving.predict([0.1] * 30).status == 200


def test_a_model_that_cannot_be_had(start: Start, tmp_path: Path) -> None:
    serving = start(tmp_path / "none", "--workers=1", "--drain_s=600")
    assert serving.wait() == 2
    assert f"serving: AIP_STORAGE_URI: there is neither a folder nor a file {tmp_path}/none" in serving.log


def test_a_worker_that_dies_while_it_loads_is_not_started_for_ever(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "empty.pt"
    torch.save({}, file)
    serving = start(file, "--model_class=tests.serving.models:Fatal", "--input_shape=1", "--workers=1")
    assert serving.wait() == 1
    assert "worker 0 ended by signal 9 before its model was ready" in serving.log
