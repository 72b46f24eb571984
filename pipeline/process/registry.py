"""What one process shares between its bundle threads: models, Pub/Sub connections, endpoint clients.

DoFns and handlers are copied for each bundle thread, so nothing that must exist once can live in them. All
that has to be closed is here. Other state of a process, and why it is elsewhere:

* `process.exit._ending` and `_code`: the lock of whoever ends the process, and its exit code;
  `process.stop._STOP`: the stop signal. All must outlast what is closed here.
* `model.staging._thread`, `model.graphs._thread`: CUDA streams, pinned buffers, and whether a thread captures
  graphs: they belong to a thread and end with it. `model.compute.capturing`: torch captures one at a time.
* `metrics`: the handles of Beam's counters and distributions. They hold no values; Beam does.
* `request.input_spec`: the cache of a pure function.
* What Python, torch and Beam have once for a process, set where it is needed: signal handlers
  (`process.stop`), the root logger (`job.main`), torch's number of threads and the collector's frozen objects
  (`inference.local.process_model`), and one function of Beam's engine while a job runs in it
  (`engine.runner`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar, runtime_checkable

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")


@runtime_checkable
class Closable(Protocol):
    """A shared object that must be closed before the process ends."""

    def close(self) -> None:
        """Give back what the object holds."""


class ClosedError(Exception):
    """The process ends: whatever was opened now, nobody would close."""


_objects: dict[Hashable, Any] = {}
_lock = threading.RLock()
_closing = threading.RLock()
_closed = False


def shared(key: Hashable, make: Callable[[], _T]) -> _T:
    """Return the process's one object under `key`, which the first call makes.

    Raises:
        ClosedError: The registry was closed for good.
        Exception: Whatever `make` raises; the next call tries again.
    """
    with _lock:
        if _closed:
            raise ClosedError("the process ends")
        if key not in _objects:
            _objects[key] = make()
        return _objects[key]


def close_all() -> None:
    """Close everything that is `Closable`, the youngest first, and forget all objects.

    If closing one raises, that is logged and the others are still closed: the subscription must give its
    messages back even if the publisher fails to close.
    """
    # A second caller returns no sooner than the first: it may end the process.
    with _closing:
        with _lock:
            objects = list(_objects.values())
            _objects.clear()
        for thing in reversed(objects):
            if isinstance(thing, Closable):
                try:
                    thing.close()
                except Exception:
                    _LOGGER.exception("could not close %s", type(thing).__name__)


def close_for_good() -> None:
    """Close everything as `close_all` does, and refuse what threads ask for that still run until the end."""
    global _closed
    # Not under the lock, which a thread may hold whose `make` hangs.
    _closed = True
    close_all()
