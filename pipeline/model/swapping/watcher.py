"""Watches the pointer of a live process, and swaps the model when the pointer names another one."""

from __future__ import annotations

import logging
import re
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from pipeline.model import compute
from pipeline.model.active_model import ActiveModel
from pipeline.model.files.private_copy import is_lack_of_room
from pipeline.model.model import Model
from pipeline.model.swapping.pointer import ModelPointer
from pipeline.model.swapping.yielding import yield_gil
from pipeline.process.exit import ComputeThread
from pipeline.request.errors import ModelError, TransientError

_LOGGER = logging.getLogger(__name__)

_JOIN_S = 1.0


class ModelWatcher:
    """A thread that polls the pointer, and swaps the model when the pointer has changed.

    A candidate that cannot be loaded, fails its check or has another output is refused: the active model
    stays, and the same content of the pointer is not tried again. Where memory, disk or storage is to blame,
    it is tried again at the next poll.
    """

    def __init__(
        self,
        active: ActiveModel,
        pointer: ModelPointer,
        load: Callable[[str], Model],
        refresh_s: float,
        turn: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Prepare the thread; `start` starts it.

        Args:
            active: The model to swap; its `path` is the one that the pointer named.
            pointer: The pointer to poll.
            load: Loads and checks the model at a full path. The candidate is refused if it raises, unless it
                raises TransientError, or for a lack of memory or of room on the disk.
            refresh_s: Seconds between two polls.
            turn: Makes what is held while a candidate is loaded, and may be waited for.
        """
        self._active = active
        self._pointer = pointer
        self._load = load
        self._refresh_s = refresh_s
        self._turn = turn
        self._decided: str | None = None  # the pointer's content at the last swap or refusal
        self._last_failure: str | None = None  # why the last poll failed
        self._replaced: weakref.ref[Model] | None = None  # by the last swap, until its memory is released
        self._closed = threading.Event()
        self._swapping = threading.Lock()
        self._thread = ComputeThread(self._run, "model watcher")

    def start(self) -> None:
        """Start to poll."""
        self._thread.start()

    def close(self) -> None:
        """Stop polling. No swap happens afterwards; a load that is under way is left to itself."""
        with self._swapping:
            self._closed.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._closed.wait(self._refresh_s):
            self._poll()

    def _poll(self) -> None:
        self._release_replaced()
        try:
            if self._pointer.read() == self._decided:
                self._last_failure = None
                return
            with self._turn():
                # Read again: while the turn was waited for, the pointer may have been put back.
                self._decided = content = self._pointer.read()
                with self._active.candidate():
                    self._decide(content)
        except OSError as error:
            # Nothing was decided, so nothing is refused. Storage may be back at the next poll.
            self._warn_once(error)

    def _decide(self, content: str) -> None:
        started = time.monotonic()
        try:
            path = self._pointer.resolve(content)
            if path == self._active.path:
                return
            candidate = self._candidate(path)
        except TransientError as error:
            # The storage is to blame, not the candidate: nothing is decided yet.
            self._decided = None
            self._warn_once(error)
        except (Exception, SystemExit) as error:  # `load` runs users' code, which this thread must survive
            if not _lacks_room(error):
                self._refuse(error)
            else:
                # Memory and disks are freed again: this refusal is no verdict on the candidate.
                self._decided = None
                if self._is_new(error):
                    self._refuse(error)
        else:
            self._swap(candidate, path, time.monotonic() - started)
            return
        # Only here is the error gone, and with it what its frames held of the candidate.
        compute.release_cached_memory()

    def _warn_once(self, error: Exception) -> None:
        """Log a transient failure, unless the last poll failed for the same reason."""
        if self._is_new(error):
            _LOGGER.warning("%s; going on with %s", _one_line(error), self._active.model.model_id)

    def _is_new(self, error: BaseException) -> bool:
        """Return whether the last poll did not fail for the same reason, and remember this one."""
        # Numbers apart: what is free differs by some bytes each time.
        reason = type(error).__name__ + re.sub(r"\d+", "", str(error))
        is_new = reason != self._last_failure
        self._last_failure = reason
        return is_new

    def _candidate(self, path: str) -> Model:
        with yield_gil():
            candidate = self._load(path)
        ours = self._active.model.outputs
        if candidate.outputs != ours:
            raise ModelError(
                f"--model_pointer: {path} answers {candidate.outputs}, the model in use {ours}: "
                "for another output, start another job or endpoint"
            )
        return candidate

    def _swap(self, candidate: Model, path: str, seconds: float) -> None:
        old = self._active.model
        with self._swapping:
            if self._closed.is_set():
                return
            self._active.swap(candidate, path)
        self._replaced = weakref.ref(old)
        _LOGGER.info("swapped the model: %s -> %s, in %.1f s", old.model_id, candidate.model_id, seconds)

    def _refuse(self, error: BaseException) -> None:
        with self._swapping:
            if self._closed.is_set():
                return
            self._active.count_refusal()
        reason = _one_line(error)
        if not isinstance(error, ModelError):
            reason = f"{type(error).__name__}: {reason}"
        if _is_caused_by(error, compute.is_out_of_memory):
            reason += " (during a swap, memory holds two models)"
        if _lacks_room(error):
            reason += "; it is tried again"
        _LOGGER.warning("refused a new model, going on with %s: %s", self._active.model.model_id, reason)

    def _release_replaced(self) -> None:
        if self._replaced is not None and self._replaced() is None:
            self._replaced = None
            compute.release_cached_memory()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _lacks_room(error: BaseException) -> bool:
    return _is_caused_by(error, lambda each: compute.is_out_of_memory(each) or is_lack_of_room(each))


def _is_caused_by(error: BaseException | None, matches: Callable[[BaseException], bool]) -> bool:
    while error is not None:
        if matches(error):
            return True
        error = error.__cause__ or error.__context__
    return False
