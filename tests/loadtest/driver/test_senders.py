from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from loadtest.clock import epoch_clock
from loadtest.driver.senders import Senders, SendersError
from tests.loadtest.conftest import INPUT, INPUT_TOPIC, Hub
from tests.waiting import wait_until

BODIES = [b'{"record_id":0}', b'{"record_id":1}', b'{"record_id":2}']

# Starts two senders, says who they are, and waits for its end.
PARENT = """
import sys, time
from loadtest.clock import epoch_clock
from loadtest.driver.senders import Senders
senders = Senders("projects/project/topics/requests", "cafe", [b"{}"], epoch_clock(), 10, 2)
senders.wait_ready()
print(*senders.pids.values(), flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_several_add_up_to_one_schedule(hub: Hub) -> None:
    clock = epoch_clock()
    senders = Senders(INPUT_TOPIC, "cafe", BODIES, clock, 100, 3)
    try:
        senders.wait_ready()
        senders.intended[:] = clock() + np.arange(100) / 1000
        senders.send()
        wait_until(lambda: senders.finished)
    finally:
        senders.close()
    assert (senders.sent, senders.published, senders.publish_errors) == (100, 100, 0)
    assert 3 <= senders.publish_calls <= 100
    assert (senders.sent_at >= senders.intended).all()
    assert senders.failure is None
    assert hub.unacknowledged(INPUT) == 100


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_they_end_with_whoever_started_them(hub: Hub, end: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(end)
    wait_until(lambda: not any(_runs(pid) for pid in pids))


def _runs(pid: int) -> bool:
    try:
        # An ended process that nobody has waited for is still listed, as Z.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_one_that_does_not_start_is_told(hub: Hub) -> None:
    senders = Senders(INPUT_TOPIC, "cafe", BODIES, epoch_clock(), 10, 2)
    try:
        os.kill(next(iter(senders.pids.values())), signal.SIGKILL)
        with pytest.raises(SendersError, match=r"a sending process was killed \(SIGKILL\)"):
            senders.wait_ready()
    finally:
        senders.close()
