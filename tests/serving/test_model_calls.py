"""Calls of the model that hang or lose the device, and those that wait behind them, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.serving.container import instances
from tests.serving.harness import Harness
from tests.serving.models import FAIL, LOSE_DEVICE, LOST, PID, WAIT
from tests.waiting import wait_until


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    harness = Harness(tmp_path)
    yield harness
    (tmp_path / "gate").touch()
    harness.close()


def test_calls_are_counted_at_their_beginning_and_end(harness: Harness, tmp_path: Path) -> None:
    assert harness.predict(instances([PID])).status == 200
    assert harness.predict(instances([FAIL])).status == 422
    assert harness.counted == 4
    with ThreadPoolExecutor(1) as caller:
        waiting = caller.submit(harness.predict, instances([WAIT]))
        wait_until((tmp_path / "entered").exists)
        assert harness.counted == 5
        (tmp_path / "gate").touch()
        assert waiting.result().status == 200
    assert harness.counted == 6


def test_who_waits_while_the_device_is_lost_gets_503_and_never_422(harness: Harness, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as caller:
        offender = caller.submit(harness.predict, instances([WAIT], [LOSE_DEVICE]))
        wait_until((tmp_path / "entered").exists)
        waiting = [caller.submit(harness.predict, instances([PID])) for _ in range(2)]
        wait_until(lambda: harness.server.calls == 3)
        (tmp_path / "gate").touch()
        assert offender.result().status == 422
        assert LOST in offender.result().message
        assert [answer.result().status for answer in waiting] == [503, 503]
    assert harness.predict(instances([PID])).status == 503
    ((reason, device),) = harness.lost
    assert (LOST in reason, device) == (True, True)


def test_a_call_that_hangs_and_those_behind_it(tmp_path: Path) -> None:
    harness = Harness(tmp_path, predict_timeout_s=0.5)
    try:
        with ThreadPoolExecutor(3) as caller:
            hanging = caller.submit(harness.predict, instances([WAIT]))
            wait_until((tmp_path / "entered").exists)
            behind = [caller.submit(harness.predict, instances([PID])) for _ in range(2)]
            for call in (hanging, *behind):
                assert call.result().status == 503
        ((reason, device),) = harness.lost
        assert ("--predict_timeout_s" in reason, device) == (True, False)
        # It runs on: for whoever looks at the scoreboard, too.
        assert harness.counted == 1
        assert harness.predict(instances([PID])).status == 503
    finally:
        (tmp_path / "gate").touch()
        harness.close()
