import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.process.lifecycle import StopSignal, stop_signal
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


def ended(script: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, as these end it."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("code", [0, 3])
def test_a_thread_inside_torch_does_not_abort_the_process(code: int) -> None:
    """Python ends such a thread at its next return from torch, by an exception that C++ does not expect."""
    process = ended(f"""
        import threading, torch
        from pipeline.batching.batcher import Batcher
        from pipeline.process.lifecycle import leave

        busy = threading.Event()
        def run(items):
            layer, x = torch.nn.Linear(64, 64), torch.zeros(8, 64)
            while True:
                layer(x)
                busy.set()

        batcher = Batcher(run, max_batch_size=1, max_wait_s=0, timeout_s=60)
        threading.Thread(target=batcher.submit, args=(1,), daemon=True).start()
        busy.wait()
        print("bye")
        leave({code})
    """)
    assert (process.returncode, process.stdout, process.stderr) == (code, "bye\n", "")


def test_without_one_it_ends_as_python_does() -> None:
    process = ended("""
        import atexit
        from pipeline.process.lifecycle import leave
        atexit.register(print, "at exit")
        leave(3)
    """)
    assert (process.returncode, process.stdout) == (3, "at exit\n")


def test_whoever_ends_the_process_second_cuts_nothing_off() -> None:
    process = ended("""
        import threading
        from pipeline.process import lifecycle, registry

        begun, second = threading.Event(), threading.Event()
        class Subscription:
            def close(self):
                begun.set()
                second.wait(0.3)
                print("given back", flush=True)

        registry.shared("subscription", Subscription)
        threading.Thread(target=lifecycle.give_back_and_exit, args=(3,), daemon=True).start()
        begun.wait()
        lifecycle.give_back_and_exit(4)
    """)
    assert (process.returncode, process.stdout) == (3, "given back\n")
