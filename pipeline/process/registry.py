"""What one process shares between its bundle threads: models, Pub/Sub connections, the stop signal.

DoFns and handlers are copied for each bundle thread, so nothing that must exist once can live in them.
This is the only global state there is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")

_objects: dict[Hashable, Any] = {}
_lock = threading.RLock()
_closing = threading.RLock()


def shared(key: Hashable, make: Callable[[], _T]) -> _T:
    """The process's one object under `key`, made at the first call. Whatever `make` raises is raised."""
    with _lock:
        if key not in _objects:
            _objects[key] = make()
        return _objects[key]


def close_all() -> None:
    """Closes everything that has a `close()`, the youngest first, and forgets it all.

    Whatever one of them raises is logged, and the others are closed all the same: the subscription must give
    its messages back even if the publisher fails to close.
    """
    # A second caller returns no sooner than the first: it may end the process.
    with _closing:
        with _lock:
            objects = list(_objects.values())
            _objects.clear()
        for thing in reversed(objects):
            close = getattr(thing, "close", None)
            if close is not None:
                try:
                    close()
                except Exception:
                    _LOGGER.exception("could not close %s", type(thing).__name__)
