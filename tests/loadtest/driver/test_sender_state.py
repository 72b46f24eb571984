from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from loadtest.driver import sender_state
from loadtest.driver.sender_state import Count, Order, SharedStates, shared_file


def test_what_one_side_writes_the_other_reads() -> None:
    with shared_file(7, 3) as memory:
        watcher = SharedStates.make(memory.fileno(), 7, 3)
        sender = SharedStates.map(memory.fileno(), 7, 3).senders[1]
    assert np.isinf(sender.intended).all()
    assert np.isnan(watcher.sent_at).all()
    watcher.intended[:] = np.arange(7)
    assert sender.intended.tolist() == [1, 4]
    sender.sent_at[:] = [1.5, 4.5]
    assert watcher.sent_at[~np.isnan(watcher.sent_at)].tolist() == [1.5, 4.5]
    sender.counts[Count.SENT] = 2
    sender.note("UNAVAILABLE: " + "é" * 1000)
    assert [int(state.counts[Count.SENT]) for state in watcher.senders] == [0, 2, 0]
    assert (watcher.senders[1].last_error or "").startswith("UNAVAILABLE: ééé")
    assert watcher.senders[0].last_error is None


def test_an_order_is_not_taken_back() -> None:
    with shared_file(1, 1) as memory:
        (state,) = SharedStates.make(memory.fileno(), 1, 1).senders
    seen = [state.order]
    for order in (Order.CLOSE, Order.STOP):
        state.give(order)
        seen.append(state.order)
    assert seen == [Order.WAIT, Order.CLOSE, Order.CLOSE]


@pytest.mark.parametrize("memory", ["no-such-folder", "full"])
def test_without_room_in_memory_it_is_on_the_disk(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(descriptor: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    if memory == "full":
        monkeypatch.setattr(os, "posix_fallocate", no_room)
    else:
        monkeypatch.setattr(sender_state, "_MEMORY", tmp_path / memory)
    with shared_file(5, 1) as file:
        assert os.fstat(file.fileno()).st_size == SharedStates.size(5, 1)
        assert len(SharedStates.make(file.fileno(), 5, 1).intended) == 5
