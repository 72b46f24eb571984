"""Calls of several clients that meet in one pass of the model, in this process."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.model.active_model import ActiveModel
from pipeline.model.model import Model
from pipeline.request.input_spec import InputSpec
from serving.call_batcher import Answered
from serving.model_call import ModelCall
from serving.predictor import Predictor
from tests.serving.container import JSON, Answer, instances
from tests.serving.harness import ONE, Harness
from tests.serving.models import FAIL, LOSE_DEVICE, NAN, NO_MEMORY, PID, WAIT
from tests.serving.test_predictor import model_call
from tests.waiting import LIMIT_S, wait_until

CALLERS = 16


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(CALLERS) as pool:
        yield pool


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    with ExitStack() as stack:
        harness = Harness(tmp_path, max_batch_size=8, max_queue_size=6)
        stack.callback(harness.close)
        stack.callback((tmp_path / "gate").touch)
        yield harness


def behind_a_call(
    harness: Harness, folder: Path, callers: ThreadPoolExecutor, *bodies: bytes
) -> list[Future[Answer]]:
    """Have calls wait, in this order, while the model is held by another."""
    futures = [callers.submit(harness.predict, instances([WAIT]))]
    wait_until((folder / "entered").exists)
    for count, body in enumerate(bodies, start=1):
        futures.append(callers.submit(harness.predict, body))
        wait_until(partial(waits, harness, count))
    return futures


def waits(harness: Harness, count: int) -> bool:
    return harness.calls.waiting == count


def statuses(futures: list[Future[Answer]]) -> list[int]:
    return [future.result(LIMIT_S).status for future in futures]


def test_what_waits_goes_together(harness: Harness, tmp_path: Path, callers: ThreadPoolExecutor) -> None:
    futures = behind_a_call(
        harness, tmp_path, callers, instances([PID]), instances([PID], [PID]), instances([PID])
    )
    (tmp_path / "gate").touch()
    assert statuses(futures) == [200] * 4
    assert [len(future.result().json["predictions"]) for future in futures] == [1, 1, 2, 1]
    assert harness.counted == 4  # the beginnings and the ends of two batches


def test_the_event_loop_is_woken_once_for_all_calls_of_a_batch(
    harness: Harness, tmp_path: Path, callers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    post, woken = harness.calls._post, []

    def counted(function: Callable[[Answered], None], answered: Answered) -> None:
        woken.append(len(answered))
        post(function, answered)

    monkeypatch.setattr(harness.calls, "_post", counted)
    futures = behind_a_call(harness, tmp_path, callers, *[instances([PID])] * 5)
    (tmp_path / "gate").touch()
    assert statuses(futures) == [200] * 6
    assert woken == [1, 5]


@pytest.mark.parametrize(("order", "status"), [(FAIL, 422), (NAN, 422), (NO_MEMORY, 503)])
def test_an_offender_fails_alone(
    harness: Harness, tmp_path: Path, callers: ThreadPoolExecutor, order: int, status: int
) -> None:
    good, bad = instances([PID], [PID]), instances([order])
    futures = behind_a_call(harness, tmp_path, callers, good, bad, good, b"{", good)
    (tmp_path / "gate").touch()
    assert statuses(futures) == [200, 200, status, 200, 400, 200]
    assert harness.counted == 4


def test_of_a_batch_that_lost_the_device_nobody_is_to_blame_yet(
    harness: Harness, tmp_path: Path, callers: ThreadPoolExecutor
) -> None:
    futures = behind_a_call(harness, tmp_path, callers, instances([PID]), instances([LOSE_DEVICE]))
    (tmp_path / "gate").touch()
    assert statuses(futures) == [200, 503, 503]
    assert [device for _, device in harness.lost] == [True]


def test_more_calls_than_may_wait_are_told_to_come_again(
    harness: Harness, tmp_path: Path, callers: ThreadPoolExecutor
) -> None:
    futures = behind_a_call(harness, tmp_path, callers, *[instances([PID])] * 6)
    answer = harness.predict(instances([PID]))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.message == "6 calls wait already (--max_queue_size)"
    (tmp_path / "gate").touch()
    assert statuses(futures) == [200] * 7
    assert harness.predict(instances([PID])).status == 200


@pytest.mark.parametrize(("timeout", "status"), [("0.001", 504), ("600", 200), ("soon", 200), ("nan", 200)])
def test_a_call_whose_time_is_over_is_not_computed(
    harness: Harness, tmp_path: Path, callers: ThreadPoolExecutor, timeout: str, status: int
) -> None:
    (held,) = behind_a_call(harness, tmp_path, callers)
    with closing(http.client.HTTPConnection(harness.address, timeout=LIMIT_S)) as connection:
        headers = {"Content-Type": JSON, "X-Server-Timeout": timeout}
        connection.request("POST", "/predict", instances([FAIL if status == 504 else PID]), headers)
        wait_until(lambda: harness.calls.waiting == 1)
        over = time.monotonic() + 0.01  # the shortest time is over by then
        wait_until(lambda: time.monotonic() > over)
        (tmp_path / "gate").touch()
        assert connection.getresponse().status == status
    assert held.result().status == 200


class Sizes(nn.Module):
    """float32 [batch, 1] → the same; remembers the rows of each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(features))
        return features


def passes(calls: list[int], alone: int = 0) -> tuple[list[int], list[int]]:
    """Return the rows of each pass, and the number of calls in each delivery, for calls of so many rows."""
    module, delivered = Sizes(), []
    predictor = Predictor(ActiveModel(Model(module, ONE, "m@1")), ONE, 4, alone)

    def deliver(answered: Answered) -> None:
        assert {answer.status for _, answer in answered} <= {200}
        delivered.append(len(answered))

    predictor.answer([model_call(JSON, instances(*[[0]] * rows)) for rows in calls], lambda: None, deliver)
    return module.seen, delivered


def test_a_pass_has_no_more_rows_than_it_may_and_no_call_is_torn() -> None:
    assert passes([1, 1, 1, 1, 1]) == ([4, 1], [4, 1])
    assert passes([3, 2, 2, 4, 1]) == ([3, 4, 4, 1], [1, 2, 1, 1])


def test_after_the_device_was_lost_calls_are_computed_one_by_one() -> None:
    assert passes([1, 1, 1, 1, 1], alone=2) == ([1, 1, 3], [1, 1, 3])


def test_an_offender_costs_few_passes_however_many_rows_it_has() -> None:
    class Fails(Sizes):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            super().forward(features)
            if (features == 1).any():
                raise ValueError("told to fail")
            return features

    module = Fails()
    answered: Answered = []
    spec = InputSpec.parse("1")
    predictor = Predictor(ActiveModel(Model(module, spec, "m@1")), spec, 1024)
    rows = [[[0]] * 3, [[1]] * 500, [[0]], [[0]] * 20]
    calls: list[ModelCall] = [model_call(JSON, instances(*each)) for each in rows]
    predictor.answer(calls, lambda: None, answered.extend)
    assert [answer.status for _, answer in answered] == [200, 422, 200, 200]
    # As a whole; then halves, at the borders of calls: the one that fails is never torn.
    assert module.seen == [524, 503, 3, 500, 21]
