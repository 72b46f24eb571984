"""Both ways to end a process, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.waiting import LIMIT_S


def ended(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, because it ends the process."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.mark.parametrize("code", [0, 3])
def test_a_thread_inside_torch_does_not_abort_the_process(code: int) -> None:
    """Python ends such a thread at its next return from torch, by an exception that C++ does not expect."""
    process = ended(f"""
        import threading, torch
        from pipeline.batching.batcher import Batcher
        from pipeline.process.exit import leave

        busy = threading.Event()
        def run(items, renew):
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


def test_one_that_python_ends_waits_for_it() -> None:
    """As Beam ends an SDK process, maybe in the midst of a batch."""
    process = ended("""
        import contextlib, threading, torch
        from pipeline.batching.batcher import Batcher
        from pipeline.process import registry
        from pipeline.request.errors import TransientError

        busy, closing = threading.Event(), threading.Event()
        def run(items, renew):
            torch.set_num_threads(1)
            layer, x = torch.nn.Linear(64, 64), torch.zeros(8, 64)
            while not closing.is_set():
                layer(x)
                busy.set()
            for _ in range(10):
                layer(x)
            print("computed")
            return items

        class Model:
            def __init__(self):
                self.batcher = Batcher(run, max_batch_size=1, max_wait_s=0, timeout_s=60)
            def close(self):
                closing.set()
                self.batcher.close()

        model = registry.shared("model", Model)
        def submit():
            with contextlib.suppress(TransientError):
                model.batcher.submit(1)

        threading.Thread(target=submit, daemon=True).start()
        busy.wait()
    """)
    assert (process.returncode, process.stdout) == (0, "computed\n")


def test_without_one_it_ends_as_python_does() -> None:
    process = ended("""
        import atexit
        from pipeline.process import exit
        from pipeline.process.exit import leave
        exit._LEAVE_S = 3600
        atexit.register(print, "at exit")
        leave(3)
    """)
    assert (process.returncode, process.stdout) == (3, "at exit\n")


def test_whoever_ends_the_process_second_cuts_nothing_off() -> None:
    process = ended("""
        import threading
        from pipeline.process import registry
        from pipeline.process.exit import give_back_and_exit

        begun, second = threading.Event(), threading.Event()
        class Subscription:
            def close(self):
                begun.set()
                second.wait(0.3)
                print("given back", flush=True)

        registry.shared("subscription", Subscription)
        threading.Thread(target=give_back_and_exit, args=(3,), daemon=True).start()
        begun.wait()
        give_back_and_exit(4)
    """)
    assert (process.returncode, process.stdout) == (3, "given back\n")


def test_leaving_closes_what_was_opened_meanwhile_and_refuses_the_rest() -> None:
    process = ended("""
        import atexit
        from pipeline.process import exit, registry
        from pipeline.process.exit import leave

        exit._LEAVE_S = 3600

        class Subscription:
            def close(self):
                print("given back", flush=True)

        @atexit.register
        def late():
            try:
                registry.shared("late", Subscription)
            except registry.ClosedError as error:
                print(error, flush=True)

        registry.shared("subscription", Subscription)
        leave(3)
    """)
    assert (process.returncode, process.stdout) == (3, "given back\nthe process ends\n")


@pytest.mark.parametrize(
    "hang",
    [
        "threading.Thread(target=threading.Event().wait).start()",
        "atexit.register(threading.Event().wait)",
        "registry.shared('hung', Hung)",
    ],
)
def test_nothing_keeps_a_process_that_leaves(hang: str) -> None:
    process = ended(f"""
        import atexit, threading
        from pipeline.process import registry
        from pipeline.process.exit import leave

        class Hung:
            def close(self):
                threading.Event().wait()

        {hang}
        print("bye")
        leave(3)
    """)
    assert (process.returncode, process.stdout) == (3, "bye\n")


def test_a_process_that_leaves_is_not_torn_down() -> None:
    """Which nothing can interrupt: of Beam and torch it takes seconds."""
    process = ended("""
        import sys
        from pipeline.process.exit import leave

        class TornDown:
            def __del__(self):
                print("torn down")

        sys.modules[__name__].kept = TornDown()
        leave(3)
    """)
    assert (process.returncode, process.stdout) == (3, "")
