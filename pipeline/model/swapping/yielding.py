"""Makes a thread that loads a model yield the interpreter to the threads that serve.

It is done by a profiler hook, which is unusual, because the hook did best of what
`python -m benchmarks.swap.yielding` compares: single requests at 300 a second on 2 cores, beside a thread
that loads a small export again and again. Their p99, medians of five rounds on a machine with other load:

* No load: 1.0 ms. A plain load: 266 ms. A load with this hook: 5.6 ms.
* `sys.setswitchinterval` during the load: 236 ms at 0.5 ms, and 228 ms at 0.05 ms (in another run 7 ms, where
  the hook had 3.4 ms). The likely reason: a short interval lets the serving threads in sooner, but leaves
  them to compete with a thread that never pauses.
* A child process cannot load in this one's place. A loaded module cannot be pickled, an exported program
  loses on the way what makes it a module, and the tensors alone are 0.2 ms of 30 ms.

No other profiler can watch the thread meanwhile.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# In a job at 300 msg/s on 2 cores, p99 during a swap is 1.2 to 1.5 times that between swaps with these, and
# 2.5 times without. A load takes 8 to 12 times as long.
_WORK_S = 0.0005
_REST_S = 0.0015


@contextmanager
def yield_gil() -> Iterator[None]:
    """Make the calling thread sleep for a moment after each half millisecond of work.

    Loading is Python, and serving threads need the interpreter, too. Python itself would let the thread run
    for 5 ms whenever another one wants to go on, which happens dozens of times while one request is served.
    """
    worked_since = time.perf_counter()

    def rest(_frame: FrameType, _event: str, _argument: object) -> None:
        nonlocal worked_since
        if time.perf_counter() - worked_since > _WORK_S:
            time.sleep(_REST_S)
            worked_since = time.perf_counter()

    # Called at each call and return of a function, on this thread only.
    sys.setprofile(rest)
    try:
        yield
    finally:
        sys.setprofile(None)
