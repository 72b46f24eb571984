"""What hangs in the container is replaced, and hangs nobody else: calls, processes, loads, devices."""

from __future__ import annotations

import http.client
import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.serving.conftest import Start
from tests.serving.container import JSON, Answer, Serving, ask, instances, is_alive, loading, puppet
from tests.serving.models import LOSE_DEVICE, LOST, PID, WAIT
from tests.waiting import LIMIT_S, TIME_SCALE, wait_until

pytestmark = pytest.mark.slow

SOON = f"--predict_timeout_s={3 * TIME_SCALE:g}"
NEVER = "--predict_timeout_s=600"


def worker_of(serving: Serving) -> int:
    """Return the process that answers."""
    answer = serving.predict([PID])
    assert answer.status == 200, answer
    return int(answer.json["predictions"][0])


def hang(serving: Serving, folder: Path, caller: ThreadPoolExecutor) -> Future[Answer]:
    """Make a call whose forward pass does not return."""
    waiting = caller.submit(serving.predict, [WAIT])
    wait_until((folder / "entered").exists)
    return waiting


def test_a_call_that_hangs_is_answered_and_its_worker_replaced(start: Start, tmp_path: Path) -> None:
    serving = start(*puppet(tmp_path), "--workers=1", SOON).ready()
    victim = worker_of(serving)
    with ThreadPoolExecutor(2) as caller:
        hanging = hang(serving, tmp_path, caller)
        behind = caller.submit(serving.predict, [PID])
        (tmp_path / "hold").touch()
        for answer in (hanging.result(), behind.result()):
            assert answer.status == 503
            assert answer.headers["retry-after"] == "1"
            assert "--predict_timeout_s" in answer.message
    wait_until(lambda: not is_alive(victim))
    (newcomer,) = loading(tmp_path, 1)
    assert serving.health() == 503
    (tmp_path / f"load-{newcomer}").touch()
    wait_until(lambda: serving.health() == 200)
    assert worker_of(serving) == newcomer
    assert "replacing it" in serving.log


def test_nobody_queues_behind_a_call_that_hangs(start: Start, tmp_path: Path) -> None:
    serving = start(*puppet(tmp_path), "--workers=2", NEVER, "--drain_s=0").ready()
    with ThreadPoolExecutor(1) as caller:
        hanging = hang(serving, tmp_path, caller)
        with closing(http.client.HTTPConnection(serving.address, timeout=LIMIT_S)) as kept:
            # It goes to the other worker, which then has as many connections.
            other = int(ask(kept, "POST", "/predict", instances([PID]), JSON).json["predictions"][0])
            wait_until(lambda: worker_within(serving, 1.0) == other)
            # From here on, none goes to the one that hangs, though it has fewer connections.
            with closing(http.client.HTTPConnection(serving.address, timeout=LIMIT_S)) as second:
                ask(second, "GET", "/health")
                assert [worker_of(serving) for _ in range(6)] == [other] * 6
        assert not hanging.done()
        (tmp_path / "gate").touch()
        assert hanging.result().status == 200


def worker_within(serving: Serving, seconds: float) -> int | None:
    """Return the process that answers on a new connection; None if none does in time."""
    with closing(http.client.HTTPConnection(serving.address, timeout=seconds)) as connection:
        try:
            answer = ask(connection, "POST", "/predict", instances([PID]), JSON)
        except TimeoutError:
            return None
    return int(answer.json["predictions"][0])


def test_a_worker_that_is_stopped_is_replaced(start: Start, tmp_path: Path) -> None:
    serving = start(*puppet(tmp_path), "--workers=1", SOON).ready()
    with closing(http.client.HTTPConnection(serving.address, timeout=LIMIT_S)) as kept:
        victim = int(ask(kept, "POST", "/predict", instances([PID]), JSON).json["predictions"][0])
        os.kill(victim, signal.SIGSTOP)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            ask(kept, "POST", "/predict", instances([PID]), JSON)
    wait_until(lambda: not is_alive(victim))
    wait_until(lambda: serving.health() == 200)
    assert worker_of(serving) != victim
    assert "no heartbeat" in serving.log


@pytest.mark.parametrize("signals", [1, 2])
def test_a_call_that_hangs_does_not_keep_the_container_from_ending(
    start: Start, tmp_path: Path, signals: int
) -> None:
    serving = start(*puppet(tmp_path), "--workers=1", NEVER, "--drain_s=0").ready()
    victim = worker_of(serving)
    with ThreadPoolExecutor(1) as caller:
        hanging = hang(serving, tmp_path, caller)
        for _ in range(signals):
            serving.process.terminate()
            wait_until(lambda: "draining" in serving.log)
        # The second ends it at once. The first, when the calls in flight have had their time.
        assert serving.wait() == signals - 1
        assert not is_alive(victim)
        assert is_worth_another_try(hanging)


def is_worth_another_try(call: Future[Answer]) -> bool:
    """Whether the call ended in a way after which a client makes it again: 503, or a closed connection."""
    error = call.exception()
    if error is not None:
        return isinstance(error, http.client.HTTPException | ConnectionError)
    return call.result().status == 503


def test_a_load_that_hangs_ends_the_container(start: Start, tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    serving = start(*puppet(tmp_path), "--workers=1", "--load_timeout_s=0.5")
    assert serving.wait() == 1
    assert "serving: the model is not loaded after 0.5 s (--load_timeout_s)" in serving.log


def test_a_load_that_hangs_beside_a_worker_that_serves_is_tried_again(start: Start, tmp_path: Path) -> None:
    limit = f"--load_timeout_s={20 * TIME_SCALE:g}"
    serving = start(*puppet(tmp_path), "--workers=2", limit, "--drain_s=0").ready()
    victim = worker_of(serving)
    (tmp_path / "hold").touch()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: "--load_timeout_s" in serving.log)
    assert serving.health() == 200
    assert worker_of(serving) != victim


@pytest.mark.parametrize("loads", [True, False])
def test_without_its_supervisor_no_worker_stays_whatever_hangs(
    start: Start, tmp_path: Path, loads: bool
) -> None:
    if loads:
        (tmp_path / "hold").touch()
        serving = start(*puppet(tmp_path), "--workers=1").listening()
        (worker,) = loading(tmp_path, 1)
        serving.process.kill()
    else:
        serving = start(*puppet(tmp_path), "--workers=1", NEVER).ready()
        worker = worker_of(serving)
        with ThreadPoolExecutor(1) as caller:
            hanging = hang(serving, tmp_path, caller)
            serving.process.kill()
            assert is_worth_another_try(hanging)
    wait_until(lambda: not is_alive(worker))


def test_a_worker_that_lost_its_device_is_replaced_after_one_refusal(start: Start, tmp_path: Path) -> None:
    serving = start(*puppet(tmp_path), "--workers=1").ready()
    victim = worker_of(serving)
    with closing(http.client.HTTPConnection(serving.address, timeout=LIMIT_S)) as kept:
        refusal = ask(kept, "POST", "/predict", instances([PID], [LOSE_DEVICE]), JSON)
        assert (refusal.status, LOST in refusal.message) == (422, True)
    statuses = set()

    def served() -> bool:
        try:
            answer = serving.predict([PID])
        except (http.client.HTTPException, ConnectionError):
            return False
        statuses.add(answer.status)
        return answer.status == 200 and answer.json["predictions"] != [victim]

    wait_until(served)
    assert statuses <= {200, 503}
    wait_until(lambda: not is_alive(victim))
