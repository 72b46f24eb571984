"""What the job makes of a container that hangs or loses its device: never a wrong dead letter."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.inference.endpoint.client import EndpointClient, EndpointConfig
from pipeline.inference.endpoint.retry_policy import RetryPolicy
from pipeline.options.address import Address
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import DeadLetter, Result
from pipeline.request.wire_format import decode
from tests.serving.conftest import Start
from tests.serving.container import Serving, is_alive, puppet
from tests.serving.models import LOSE_DEVICE, PID, WAIT
from tests.waiting import LIMIT_S, TIME_SCALE, wait_until

pytestmark = pytest.mark.slow

SOON = f"--predict_timeout_s={3 * TIME_SCALE:g}"


def predict(serving: Serving, orders: list[int], batch_size: int) -> list[Result | DeadLetter]:
    spec = InputSpec.parse("1")
    bodies = [json.dumps({"features": [order]}).encode() for order in orders]
    requests = [decode(body, {}, spec, received=0.0) for body in bodies]
    policy = RetryPolicy(timeout_s=LIMIT_S, deadline_s=LIMIT_S, scale_up_wait_s=1.0)
    config = EndpointConfig(
        Address(f"http://{serving.address}/predict", False), "predict", batch_size, 4, policy
    )
    with closing(EndpointClient(config)) as client:
        return client.predict(requests, stopping=lambda: False, throttled=lambda seconds: None)


@pytest.fixture
def serving(start: Start, tmp_path: Path) -> Serving:
    return start(*puppet(tmp_path), "--workers=1", SOON).ready()


def hang(serving: Serving, folder: Path, worker: int, caller: ThreadPoolExecutor) -> None:
    caller.submit(serving.predict, [WAIT])
    wait_until((folder / "entered").exists)


def stop(serving: Serving, folder: Path, worker: int, caller: ThreadPoolExecutor) -> None:
    os.kill(worker, signal.SIGSTOP)


@pytest.mark.parametrize("trouble", [hang, stop])
def test_calls_that_meet_a_worker_that_hangs_are_served_by_the_next(
    serving: Serving, tmp_path: Path, trouble: Callable[[Serving, Path, int, ThreadPoolExecutor], None]
) -> None:
    victim = int(serving.predict([PID]).json["predictions"][0])
    with ThreadPoolExecutor(1) as caller:
        trouble(serving, tmp_path, victim, caller)
        outcomes = predict(serving, [PID] * 8, batch_size=2)
    assert [type(outcome) for outcome in outcomes] == [Result] * 8
    assert all(isinstance(one, Result) and float(one.prediction) != victim for one in outcomes)
    wait_until(lambda: not is_alive(victim))


def test_of_a_call_that_loses_the_device_only_the_offender_is_a_dead_letter(serving: Serving) -> None:
    outcomes = predict(serving, [PID, LOSE_DEVICE, PID], batch_size=3)
    assert [type(outcome) for outcome in outcomes] == [Result, DeadLetter, Result]
