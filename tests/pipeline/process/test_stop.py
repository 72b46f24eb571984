from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator

import pytest

from pipeline.process import registry
from pipeline.process import stop as stop_module
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
        wait_until(lambda: caplog.messages)
    assert caplog.messages == [f"stopping: {number.name}"]


def test_the_signal_handler_neither_logs_nor_starts_threads(
    stop: StopSignal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs in the midst of whatever the main thread does, with the locks held that this takes."""
    wrote: list[threading.Thread] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            wrote.append(threading.current_thread())

    started: list[threading.Thread] = []
    start = threading.Thread.start

    def recorded(thread: threading.Thread) -> None:
        started.append(threading.current_thread())
        start(thread)

    handler = Handler()
    stop.install(None)
    monkeypatch.setattr(threading.Thread, "start", recorded)
    monkeypatch.setattr(stop_module._LOGGER, "level", logging.INFO)
    stop_module._LOGGER.addHandler(handler)
    try:
        signal.raise_signal(signal.SIGTERM)
        wait_until(lambda: wrote)
    finally:
        stop_module._LOGGER.removeHandler(handler)
    assert threading.main_thread() not in [*wrote, *started]


def test_past_the_grace_the_process_is_ended(stop: StopSignal, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(stop_module, "GRACE_S", 0.01)
    monkeypatch.setattr(stop_module, "give_back_and_exit", codes.append)
    stop.install(None)
    stop.request("the test")
    wait_until(lambda: codes)
    assert codes == [0]


def test_a_closed_one_ends_no_process(stop: StopSignal, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(stop_module, "give_back_and_exit", codes.append)
    stop.install(None)
    (guard,) = [thread for thread in threading.enumerate() if thread.name == "stop guard"]
    stop.request("the test")
    stop.close()
    guard.join()
    assert codes == []


def test_run_for_s(stop: StopSignal) -> None:
    stop.install(0.01)
    wait_until(lambda: stop.requested)


def test_one_for_the_process() -> None:
    assert stop_signal() is stop_signal()


def test_it_outlasts_what_is_closed() -> None:
    """A thread that still runs while the process ends must not read on."""
    stop_signal().request("the test")
    registry.close_all()
    assert stop_signal().requested
