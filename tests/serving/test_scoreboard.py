from __future__ import annotations

import os

from serving.scoreboard import Scoreboard, State


def test_what_one_writes_the_other_reads() -> None:
    board, fd = Scoreboard.create(workers=3)
    other = Scoreboard(fd)
    os.close(fd)
    before = other.state
    board.state = State.DRAINING
    assert (before, other.state) == (State.LOADING, State.DRAINING)


def test_connections_are_counted_for_each_worker() -> None:
    board, fd = Scoreboard.create(workers=2)
    worker = Scoreboard(fd)
    os.close(fd)
    worker.count_closed(1)
    worker.count_closed(1)
    assert board.open_connections(0, handed=5) == 5
    assert board.open_connections(1, handed=5) == 3
    board.reset(1)
    assert board.open_connections(1, handed=0) == 0


def test_heartbeats_and_calls_are_counted_for_each_worker() -> None:
    board, fd = Scoreboard.create(workers=2)
    worker = Scoreboard(fd)
    os.close(fd)
    worker.beat(0)
    worker.count_call(1)
    worker.count_call(1)
    worker.count_call(1)
    assert [board.beats(0), board.beats(1), board.calls(0), board.calls(1)] == [1, 0, 0, 3]
    board.reset(1)
    assert [board.beats(0), board.calls(1)] == [1, 0]


def test_the_count_wraps_around() -> None:
    board, fd = Scoreboard.create(workers=1)
    os.close(fd)
    board._write(1, 2**32 - 1)
    board.count_closed(0)
    assert board.open_connections(0, handed=2) == 2
    assert board.open_connections(0, handed=2**32 + 2) == 2
