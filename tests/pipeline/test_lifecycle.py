import signal
from collections.abc import Iterator

import pytest

from pipeline.lifecycle import StopSignal, stop_signal
from tests.waiting import wait_until


@pytest.fixture
def former_handlers() -> Iterator[None]:
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("former_handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_ask_for_a_stop(number: signal.Signals, caplog: pytest.LogCaptureFixture) -> None:
    stop = StopSignal()
    stop.install(None)
    assert not stop.requested
    with caplog.at_level("INFO"):
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert stop.requested
    assert caplog.messages == [f"stopping: {number.name}"]
    stop.close()


@pytest.mark.usefixtures("former_handlers")
def test_run_for_s() -> None:
    stop = StopSignal()
    stop.install(0.01)
    wait_until(lambda: stop.requested)
    stop.close()


def test_one_for_the_process() -> None:
    assert stop_signal() is stop_signal()
