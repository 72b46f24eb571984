"""The batcher with many threads. Runs are held at gates, so that the order of things is the test's choice."""

from __future__ import annotations

import contextlib
import gc
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.batching import batcher as batcher_module
from pipeline.batching.batcher import AbandonedError, Batcher, Renew
from pipeline.request.errors import TransientError
from tests.waiting import LIMIT_S, wait_until

LONG_S = LIMIT_S


class Gate:
    """A `run` that waits to be let through, and records what it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self._open = threading.Semaphore(0)

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        assert self._open.acquire(timeout=LONG_S)
        return [10 * item for item in items]

    def let_through(self, calls: int = 1) -> None:
        self._open.release(calls)


def by_bundle(run: Callable[[list[int]], list[int]]) -> Callable[[list[list[int]], Renew], list[list[int]]]:
    """Turn a function of numbers into one of bundles of numbers."""

    def run_bundles(bundles: list[list[int]], _renew: Renew) -> list[list[int]]:
        answers = iter(run([number for bundle in bundles for number in bundle]))
        return [[next(answers) for _ in bundle] for bundle in bundles]

    return run_bundles


def submit(batcher: Batcher[list[int], list[int]], bundle: list[int]) -> list[int]:
    return batcher.submit(bundle, len(bundle))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


Make = Callable[..., Batcher[list[int], list[int]]]


@pytest.fixture
def make() -> Iterator[Make]:
    built = []

    def batcher(run: Callable[[list[int]], list[int]], **changed: Any) -> Batcher[list[int], list[int]]:
        flags: dict[str, Any] = {"max_batch_size": 128, "max_wait_s": 0.0, "timeout_s": LONG_S}
        built.append(Batcher(by_bundle(run), **(flags | changed)))
        return built[-1]

    yield batcher
    for one in built:
        one.close()


def wait_until_queued(batcher: Batcher[list[int], list[int]], count: int) -> None:
    wait_until(lambda: len(batcher._queue) == count)


def fill(
    batcher: Batcher[list[int], list[int]], gate: Gate, threads: ThreadPoolExecutor, *bundles: list[int]
) -> list[Future[list[int]]]:
    """Submit the bundles in this order while a call with one other item is held."""
    futures = [threads.submit(submit, batcher, [0])]
    wait_until(lambda: len(gate.batches) == 1)
    for count, bundle in enumerate(bundles, start=1):
        futures.append(threads.submit(submit, batcher, bundle))
        wait_until_queued(batcher, count)
    return futures


def answers(futures: Sequence[Future[list[int]]]) -> list[list[int]]:
    return [future.result(LONG_S) for future in futures]


class TestBatches:
    def test_requests_of_different_bundles_meet_and_each_gets_its_own(
        self, make: Make, threads: ThreadPoolExecutor
    ) -> None:
        gate = Gate()
        futures = fill(make(gate), gate, threads, [1], [2, 3], [4])
        gate.let_through(2)
        assert answers(futures) == [[0], [10], [20, 30], [40]]
        assert gate.batches == [[0], [1, 2, 3, 4]]

    def test_no_batch_is_larger_than_allowed_and_no_bundle_is_torn(
        self, make: Make, threads: ThreadPoolExecutor
    ) -> None:
        gate = Gate()
        futures = fill(make(gate, max_batch_size=4), gate, threads, [1, 2, 3], [4, 5], [6, 7], [8])
        gate.let_through(4)
        assert answers(futures) == [[0], [10, 20, 30], [40, 50], [60, 70], [80]]
        assert gate.batches == [[0], [1, 2, 3], [4, 5, 6, 7], [8]]

    def test_a_submission_of_more_runs_alone(self, make: Make, threads: ThreadPoolExecutor) -> None:
        gate = Gate()
        futures = fill(make(gate, max_batch_size=2), gate, threads, [1, 2, 3], [4])
        gate.let_through(3)
        assert answers(futures) == [[0], [10, 20, 30], [40]]
        assert gate.batches == [[0], [1, 2, 3], [4]]

    def test_a_thread_returns_with_its_own_batch_not_later(
        self, make: Make, threads: ThreadPoolExecutor
    ) -> None:
        gate = Gate()
        first, second = fill(make(gate), gate, threads, [1])
        gate.let_through()
        assert first.result(LONG_S) == [0]
        wait_until(lambda: len(gate.batches) == 2)
        assert not second.done()
        gate.let_through()
        assert second.result(LONG_S) == [10]

    def test_many_threads_many_times(self, make: Make, threads: ThreadPoolExecutor) -> None:
        sizes = []

        def run(items: list[int]) -> list[int]:
            sizes.append(len(items))
            return [item + 1 for item in items]

        batcher = make(run, max_batch_size=16, max_wait_s=0.001, concurrent_batches=2)

        def bundles(thread: int) -> bool:
            firsts = range(thread * 1000, thread * 1000 + 200)
            return all(submit(batcher, [n, -n]) == [n + 1, 1 - n] for n in firsts)

        assert all(threads.map(bundles, range(24)))
        assert sum(sizes) == 24 * 200 * 2
        assert max(sizes) <= 16


class TestBatchWindow:
    def test_waits_for_threads_that_were_just_answered(self, make: Make, threads: ThreadPoolExecutor) -> None:
        gate = Gate()
        batcher = make(gate, max_wait_s=LONG_S)
        futures = fill(batcher, gate, threads, [1], [2])
        gate.let_through()
        answers(futures[:1])
        # One thread was answered, two wait: they run only once the first is back.
        wait_until_queued(batcher, 2)
        back = threads.submit(submit, batcher, [3])
        gate.let_through(2)
        assert answers([*futures[1:], back]) == [[10], [20], [30]]
        assert gate.batches == [[0], [1, 2, 3]]

    def test_closes_after_the_longest_wait(self, make: Make, threads: ThreadPoolExecutor) -> None:
        gate = Gate()
        futures = fill(make(gate, max_wait_s=0.02), gate, threads, [1], [2])
        gate.let_through(2)
        assert answers(futures) == [[0], [10], [20]]
        assert gate.batches == [[0], [1, 2]]

    def test_a_full_batch_does_not_wait(self, make: Make, threads: ThreadPoolExecutor) -> None:
        gate = Gate()
        futures = fill(make(gate, max_wait_s=LONG_S, max_batch_size=2), gate, threads, [1], [2])
        gate.let_through(2)
        assert answers(futures) == [[0], [10], [20]]

    def test_one_thread_alone_never_waits(self, make: Make) -> None:
        batcher = make(lambda items: items, max_wait_s=LONG_S)
        assert [submit(batcher, [n]) for n in range(100)] == [[n] for n in range(100)]


class TestConcurrentBatches:
    def test_two_run_at_once_and_share_what_is_queued(self, make: Make, threads: ThreadPoolExecutor) -> None:
        gate = Gate()
        batcher = make(gate, concurrent_batches=2)
        first = threads.submit(submit, batcher, [0])
        wait_until(lambda: len(gate.batches) == 1)
        second = threads.submit(submit, batcher, [1])
        wait_until(lambda: len(gate.batches) == 2)
        rest = []
        for count in range(1, 7):
            rest.append(threads.submit(submit, batcher, [count + 1]))
            wait_until_queued(batcher, count)
        gate.let_through()
        # Of eight threads one worker takes four, however many wait.
        wait_until(lambda: len(gate.batches) == 3)
        assert len(gate.batches[2]) == 4
        gate.let_through(7)
        assert answers([first, second, *rest]) == [[10 * n] for n in range(8)]


class TestTrouble:
    def test_an_exception_reaches_its_own_bundles_and_no_other(
        self, make: Make, threads: ThreadPoolExecutor
    ) -> None:
        gate = Gate()

        def run(items: list[int]) -> list[int]:
            out = gate(items)
            if 666 in items:
                raise ValueError("the number of the beast")
            return out

        futures = fill(make(run, max_batch_size=2), gate, threads, [1], [666], [2], [3])
        gate.let_through(3)
        assert answers([futures[0], *futures[3:]]) == [[0], [20], [30]]
        for future in futures[1:3]:
            with pytest.raises(ValueError, match="beast"):
                future.result(LONG_S)

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, MemoryError])
    def test_whatever_is_raised_the_worker_goes_on(self, make: Make, error: type[BaseException]) -> None:
        def run(items: list[int]) -> list[int]:
            if items == [1]:
                raise error
            return items

        batcher = make(run)
        with pytest.raises(error):
            submit(batcher, [1])
        assert submit(batcher, [2]) == [2]

    def test_a_wrong_number_of_answers(self) -> None:
        batcher: Batcher[int, int] = Batcher(
            lambda _items, _renew: [], max_batch_size=1, max_wait_s=0, timeout_s=LONG_S
        )
        with pytest.raises(RuntimeError, match="0 answers to 1 items"):
            batcher.submit(1)
        batcher.close()

    def test_a_call_that_hangs_fails_its_bundles_and_the_others_go_on(self, make: Make) -> None:
        gate = Gate()
        hang = threading.Event()

        def run(items: list[int]) -> list[int]:
            if 666 in items:
                hang.wait(LONG_S)
            return gate(items)

        batcher = make(run, max_batch_size=2, timeout_s=1.0)
        gate.let_through(100)
        with pytest.raises(TransientError, match=r"longer than 1 s .*--inference_timeout_s"):
            submit(batcher, [666, 1])
        assert submit(batcher, [1]) == [10]
        hang.set()
        # What the hung call returns in the end reaches nobody.
        assert [submit(batcher, [n]) for n in range(20)] == [[10 * n] for n in range(20)]

    def test_waiting_in_the_queue_is_no_time_out(self, make: Make, threads: ThreadPoolExecutor) -> None:
        gate = Gate()
        batcher = make(lambda items: gate(items) if 0 in items else items, timeout_s=1.0, max_batch_size=1)
        futures = fill(batcher, gate, threads, [1], [2])
        with pytest.raises(TransientError):
            futures[0].result(LONG_S)
        # These waited as long as the call that timed out, and run on.
        assert answers(futures[1:]) == [[1], [2]]
        gate.let_through()


class Hung:
    """A `run` whose calls hang for as long as `hangs` says, and are counted."""

    def __init__(self, hangs: Callable[[], bool] = lambda: True) -> None:
        self.calls = 0
        self.at_once = 0
        self.most_at_once = 0
        self.hangs = hangs
        self.end = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, items: list[int]) -> list[int]:
        with self._lock:
            self.calls += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        if self.hangs():
            self.end.wait(LONG_S)
        with self._lock:
            self.at_once -= 1
        return items


class TestHungCalls:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_they_are_bounded_and_then_there_is_no_hope(
        self, make: Make, threads: ThreadPoolExecutor, workers: int
    ) -> None:
        run = Hung()
        hopeless = threading.Semaphore(0)
        batcher = make(
            run,
            max_batch_size=1,
            timeout_s=0.02,
            concurrent_batches=workers,
            on_hopeless=hopeless.release,
        )

        over = threading.Event()

        def try_again_and_again() -> None:
            # As Dataflow does, until the process ends; here, until the batcher takes nothing more.
            while batcher._closed is None and not over.is_set():
                with pytest.raises(TransientError, match=r"longer than 0.02 s .*--inference_timeout_s"):
                    submit(batcher, [1])

        clients = [threads.submit(try_again_and_again) for _ in range(4)]
        try:
            assert hopeless.acquire(timeout=LONG_S)
        finally:
            over.set()
        for client in clients:
            client.result(LONG_S)
        assert run.most_at_once <= 2 * workers
        assert len(batcher._abandoned) > workers
        with pytest.raises(TransientError, match="longer than"):
            submit(batcher, [1])
        assert not hopeless.acquire(blocking=False)
        run.end.set()

    def test_calls_that_return_after_all_leave_hope(self, make: Make) -> None:
        slow = [True]
        run = Hung(lambda: slow[0])
        lost: list[None] = []
        batcher = make(run, timeout_s=0.02, on_hopeless=lambda: lost.append(None))
        for _ in range(5):
            slow[0] = True
            run.end.clear()
            with pytest.raises(TransientError):
                submit(batcher, [1])
            slow[0] = False
            run.end.set()
            wait_until(lambda: run.at_once == 0 and not batcher._abandoned)
            batcher._timeout_s = LONG_S
            assert submit(batcher, [2]) == [2]
            batcher._timeout_s = 0.02
        assert lost == []

    def test_while_all_warm_ups_hang_others_take_their_place(self, make: Make) -> None:
        """They hold no batch: only what is queued can notice."""
        end = threading.Event()
        warmed: list[int] = []
        ended: list[int] = []

        def warm_up(_renew: Renew) -> None:
            warmed.append(1)
            end.wait(LONG_S)
            ended.append(1)

        batcher = make(lambda items: items, timeout_s=1.0, concurrent_batches=2, warm_up=warm_up)
        assert submit(batcher, [1]) == [1]
        assert ended == []
        # A thread that takes another's place is not warmed up.
        assert len(warmed) == 2
        end.set()

    def test_a_warm_up_that_fails_leaves_the_failure_to_the_first_batch(self, make: Make) -> None:
        def warm_up(_renew: Renew) -> None:
            raise SystemExit

        batcher = make(lambda items: items, concurrent_batches=2, warm_up=warm_up)
        assert submit(batcher, [1]) == [1]


class Clock:
    """A clock that the test sets; it counts how often it is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.reads = 0
        monkeypatch.setattr(batcher_module, "time", SimpleNamespace(monotonic=self._read))

    def _read(self) -> float:
        self.reads += 1
        return self.now

    def advance(self, seconds: float) -> None:
        """Advance it, and let those who wait see it."""
        self.now += seconds
        seen = self.reads
        wait_until(lambda: self.reads > seen + 1)


class TestTimeLimit:
    def test_it_is_that_of_one_call_of_the_model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        passes: list[float] = []

        def run(items: list[int], renew: Renew) -> list[int]:
            for _ in range(10):
                renew()
                clock.advance(0.04)
                passes.append(clock.now)
            return items

        batcher: Batcher[int, int] = Batcher(run, max_batch_size=1, max_wait_s=0, timeout_s=0.05)
        assert batcher.submit(1) == 1
        assert len(passes) == 10
        batcher.close()

    def test_an_abandoned_batch_ends_before_its_next_pass(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        told = threading.Event()
        passes: list[int] = []
        ended: list[BaseException] = []

        def run(items: list[int], renew: Renew) -> list[int]:
            try:
                for number in range(3):
                    renew()
                    passes.append(number)
                    clock.advance(0.06)
                    assert told.wait(LONG_S)
            except AbandonedError as error:
                ended.append(error)
                raise
            return items

        batcher: Batcher[int, int] = Batcher(run, max_batch_size=1, max_wait_s=0, timeout_s=0.05)
        with pytest.raises(TransientError, match="longer than"):
            batcher.submit(1)
        told.set()
        wait_until(lambda: not batcher._abandoned)
        assert passes == [0]
        assert len(ended) == 1
        batcher.close()


class Item:
    """Something to hold a weak reference to."""


class NeedsTwo(Exception):
    """An error that cannot be copied."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(one + other)


class TestErrors:
    def run_and_fail(self, error: Callable[[], Exception]) -> Callable[[list[Any], Renew], list[Any]]:
        def run(_items: list[Any], _renew: Renew) -> list[Any]:
            raise error()

        return run

    def test_each_thread_raises_its_own(self, threads: ThreadPoolExecutor) -> None:
        busy, go_on = threading.Event(), threading.Event()

        def run(items: list[int], _renew: Renew) -> list[int]:
            if items != [0]:
                raise ValueError("no")
            busy.set()
            assert go_on.wait(LONG_S)
            return items

        batcher: Batcher[int, int] = Batcher(run, max_batch_size=32, max_wait_s=0, timeout_s=LONG_S)

        def fail(number: int) -> ValueError:
            try:
                batcher.submit(number)
            except ValueError as error:
                return error
            raise AssertionError("it did not fail")

        first = threads.submit(batcher.submit, 0)
        assert busy.wait(LONG_S)
        failing = [threads.submit(fail, number) for number in range(1, 33)]
        wait_until(lambda: len(batcher._queue) == 32)
        go_on.set()
        errors = [future.result(LONG_S) for future in failing]
        assert first.result(LONG_S) == 0
        assert len({id(error) for error in errors}) == 32
        # `fail` and `submit`, and nothing of other threads.
        assert {len(traceback.extract_tb(error.__traceback__)) for error in errors} == {2}
        batcher.close()

    def test_it_keeps_no_input_alive(self) -> None:
        batcher: Batcher[Item, Item] = Batcher(
            self.run_and_fail(lambda: ValueError("no")), max_batch_size=1, max_wait_s=0, timeout_s=LONG_S
        )

        def fail() -> weakref.ref[Item]:
            item = Item()
            with contextlib.suppress(ValueError):
                batcher.submit(item)
            return weakref.ref(item)

        gc.disable()
        try:
            gone = fail()
            # The worker drops the batch a moment after it has answered.
            wait_until(lambda: gone() is None)
        finally:
            gc.enable()
            batcher.close()

    def test_it_comes_from_the_first_one(self) -> None:
        batcher: Batcher[int, int] = Batcher(
            self.run_and_fail(lambda: ValueError("no")), max_batch_size=1, max_wait_s=0, timeout_s=LONG_S
        )
        with pytest.raises(ValueError, match="no") as raised:
            batcher.submit(1)
        cause = raised.value.__cause__
        assert isinstance(cause, ValueError)
        assert [frame.name for frame in traceback.extract_tb(cause.__traceback__)] == ["run"]
        batcher.close()

    def test_one_that_cannot_be_copied(self) -> None:
        batcher: Batcher[int, int] = Batcher(
            self.run_and_fail(lambda: NeedsTwo(1, 2)), max_batch_size=1, max_wait_s=0, timeout_s=LONG_S
        )
        with pytest.raises(RuntimeError, match="NeedsTwo: 3"):
            batcher.submit(1)
        batcher.close()


class TestClose:
    def test_nobody_is_left_waiting(self, make: Make, threads: ThreadPoolExecutor) -> None:
        gate = Gate()
        batcher = make(gate)
        futures = fill(batcher, gate, threads, [1], [2])
        threads.submit(batcher.close)
        for future in futures:
            with pytest.raises(TransientError, match="stopping"):
                future.result(LONG_S)
        gate.let_through(3)

    def test_afterwards_submissions_fail_at_once(self, make: Make) -> None:
        batcher = make(lambda items: items)
        batcher.close()
        with pytest.raises(TransientError, match="stopping"):
            submit(batcher, [1])

    def test_its_worker_threads_end(self, make: Make) -> None:
        batcher = make(lambda items: items, concurrent_batches=2)
        submit(batcher, [1])
        batcher.close()
        assert not any(thread.is_alive() for thread in batcher._workers)
