from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from pipeline.process.stop import StopSignal, stop_signal
from tests.waiting import wait_until


@pytest.fixture
def former_handlers() -> Iterator[None]:
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.fixture
def stop(former_handlers: None) -> Iterator[StopSignal]:
    stop = StopSignal()
    yield stop
    # Else its guard would end this very process.
    stop.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_ask_for_a_stop(
    stop: StopSignal, number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    stop.install(None)
    assert not stop.requested
    with caplog.at_level("INFO"):
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert stop.requested
    assert caplog.messages == [f"stopping: {number.name}"]


def test_run_for_s(stop: StopSignal) -> None:
    stop.install(0.01)
    wait_until(lambda: stop.requested)


def test_one_for_the_process() -> None:
    assert stop_signal() is stop_signal()
