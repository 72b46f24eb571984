"""The rules by which batches form, at times that the test sets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pipeline.batching.batch_queue import BatchQueue

WAIT_S = 2.0


@dataclass
class Entry:
    arrived: float
    size: int = 1


def queue(max_batch_size: int = 8, concurrent_batches: int = 1) -> BatchQueue[Entry]:
    return BatchQueue(max_batch_size, WAIT_S, concurrent_batches)


def test_who_is_alone_never_waits() -> None:
    one = queue()
    assert one.wait_s(0.0) is None
    for now in (0.0, 1.0, 1.5):
        assert one.add(Entry(now))
        assert one.wait_s(now) == 0
        assert len(one.take()) == 1
        one.answered(1, now + 0.1)


def test_those_answered_a_moment_ago_are_waited_for_and_no_longer_than_may_be() -> None:
    one = queue()
    one.answered(3, 10.0)
    assert one.add(Entry(10.5))
    assert one.wait_s(10.5) == 2.0  # from when it came
    assert not one.add(Entry(11.0))
    assert one.wait_s(11.0) == 1.5
    assert one.wait_s(12.5) == 0
    assert len(one.take()) == 2
    # The third has gone elsewhere: it is not waited for again.
    one.answered(1, 13.0)
    one.add(Entry(13.1))
    assert one.wait_s(13.1) == 0


def test_an_entry_that_waited_for_the_worker_waits_from_when_that_was_free() -> None:
    one = queue()
    one.add(Entry(9.0))
    one.answered(2, 10.0)
    assert one.wait_s(10.0) == WAIT_S


def test_the_last_one_back_closes_the_window() -> None:
    one = queue()
    one.answered(2, 10.0)
    assert one.add(Entry(10.1))
    assert one.wait_s(10.1)
    assert one.add(Entry(10.2))
    assert one.wait_s(10.2) == 0


def test_a_full_batch_waits_for_nobody() -> None:
    one = queue(max_batch_size=4)
    one.answered(9, 10.0)
    one.add(Entry(10.0, size=3))
    assert one.wait_s(10.0)
    assert one.add(Entry(10.0))
    assert one.wait_s(10.0) == 0


@pytest.mark.parametrize(
    ("sizes", "batches"), [([3, 2, 3], [[3, 2], [3]]), ([9, 1], [[9], [1]]), ([1] * 6, [[1] * 5, [1]])]
)
def test_no_batch_is_larger_than_may_be_but_for_one_entry(sizes: list[int], batches: list[list[int]]) -> None:
    one = queue(max_batch_size=5)
    for size in sizes:
        one.add(Entry(0.0, size))
    taken = []
    while one:
        taken.append([entry.size for entry in one.take()])
    assert taken == batches


def test_workers_share_what_waits_and_what_is_expected() -> None:
    one = queue(max_batch_size=100, concurrent_batches=2)
    for _ in range(6):
        one.add(Entry(0.0))
    assert len(one.take()) == 3
    assert len(one.take(running=3)) == 3


def test_what_has_waited_for_too_long_and_all_that_waits_can_be_taken_away() -> None:
    one = queue(max_batch_size=4)
    for arrived in (1.0, 2.0, 3.0):
        one.add(Entry(arrived, size=2))
    assert [entry.arrived for entry in one.take_until(2.0)] == [1.0, 2.0]
    one.answered(5, 3.0)
    assert one.wait_s(3.0)  # for what is left is no full batch
    assert [entry.arrived for entry in one.take_all()] == [3.0]
    assert not one
    assert one.wait_s(9.0) is None
