"""Swapping the model of a live job: the model of the moment, the pointer to it, and who looks at that."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pipeline.inference.local import files
from pipeline.model import compute
from pipeline.model.model import Model
from pipeline.process import lifecycle
from pipeline.request.errors import ModelError, TransientError

_LOGGER = logging.getLogger(__name__)

_MOST_POINTER_BYTES = 4096
_JOIN_S = 1.0
_CANDIDATE_S = 60.0
# At 300 msg/s on 2 cores, p99 during a swap is 1.2 to 1.5 times that between swaps with these, 2.5 times
# without. A load takes about eight times as long.
_WORK_S = 0.0005
_REST_S = 0.0015


class CurrentModel:
    """The model of the moment. Whoever runs a batch reads `model` once, at its start.

    Attributes:
        model: replaced in one assignment.
        path: the file it came from, as `ModelPointer.path` has it; None where no pointer leads to it.
    """

    def __init__(self, model: Model, path: str | None = None) -> None:
        self.model = model
        self.path = path
        self._lock = threading.Lock()
        self._swaps = 0
        self._refusals = 0
        self._no_candidate = threading.Event()
        self._no_candidate.set()

    @contextmanager
    def candidate(self) -> Iterator[None]:
        """While a candidate is loaded beside the model."""
        self._no_candidate.clear()
        try:
            yield
        finally:
            self._no_candidate.set()

    def waited_for_candidate(self) -> bool:
        """Waits until no candidate is being loaded, for a minute at most; whether one was, and is no more."""
        if self._no_candidate.is_set():
            return False
        return self._no_candidate.wait(_CANDIDATE_S)

    def swap(self, model: Model, path: str) -> None:
        self.model = model
        self.path = path
        with self._lock:
            self._swaps += 1

    def count_refusal(self) -> None:
        with self._lock:
            self._refusals += 1

    def take_counts(self) -> tuple[int, int]:
        """Swaps and refusals since the last call: Beam's metrics count on bundle threads only."""
        with self._lock:
            counts = self._swaps, self._refusals
            self._swaps = self._refusals = 0
        return counts


class ModelPointer:
    """A small file that holds a model's path, relative to the root or full, and nothing else."""

    def __init__(self, pointer: str, root: str | None = None) -> None:
        """
        Args:
            pointer: --model_pointer, on this machine or any of Beam's filesystems.
            root: --model_root, the folder that models lie under; None: the pointer's own.
        """
        self._pointer = pointer
        self._root = root if root is not None else _folder(pointer)

    def path(self) -> str:
        """The full path of the model it names, with symbolic links followed.

        Raises:
            ModelError: it cannot be read, or names something outside the root.
        """
        try:
            content = self.read()
        except OSError as error:
            raise ModelError(str(error)) from error
        return self.resolve(content)

    def read(self) -> str:
        """What it holds, without white space around.

        Raises:
            OSError: it cannot be read, is empty, larger than 4 KiB or not UTF-8.
        """
        try:
            content = files.read_small(self._pointer, _MOST_POINTER_BYTES).strip()
        except OSError as error:
            raise OSError(f"--model_pointer: {error}") from error
        if not content:
            raise OSError(f"--model_pointer: {self._pointer} is empty: write a model's path into it")
        return content

    def resolve(self, content: str) -> str:
        """The full path of the model that `content` names, with symbolic links followed.

        Raises:
            ModelError: it is outside the root.
        """
        # Of what is printed on one line only: a line break or a NUL is in no path that anybody means.
        if content.isprintable():
            inside = _local_path if files.is_local(self._root) else _remote_path
            path = inside(self._root, content)
            if path is not None:
                return path
        raise ModelError(
            f"--model_pointer: {self._pointer} holds {content[:200]!r}, which is no path under "
            f"--model_root ({self._root})"
        )


class Refresher:
    """Looks at the pointer again and again, on a thread of its own, and swaps the model where it changed.

    A candidate that cannot be loaded, fails its check or has another output is refused: the model of the
    moment goes on, and the same content of the pointer is not tried again.
    """

    def __init__(
        self,
        current: CurrentModel,
        pointer: ModelPointer,
        load: Callable[[str], Model],
        refresh_s: float,
    ) -> None:
        """
        Args:
            current: where the model is swapped; its `path` is the one that the pointer led to.
            load: loads and checks the model at a full path. Whatever it raises refuses the candidate.
            refresh_s: seconds between two looks.
        """
        self._current = current
        self._pointer = pointer
        self._load = load
        self._refresh_s = refresh_s
        self._decided: str | None = None  # the pointer's content at the last swap or refusal
        self._trouble: str | None = None  # why the pointer could not be read at the last look
        self._replaced: weakref.ref[Model] | None = None  # by the last swap, until its last batch is done
        self._closed = threading.Event()
        self._swapping = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"{lifecycle.COMPUTES}refresher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stops looking. No swap happens after it; a load that is under way is left to itself."""
        with self._swapping:
            self._closed.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._closed.wait(self._refresh_s):
            self._look()

    def _look(self) -> None:
        self._release_replaced()
        try:
            content = self._pointer.read()
        except OSError as error:
            # Nothing was decided, so nothing is refused. Storage may be back at the next look.
            self._tell(error)
            return
        if content == self._decided:
            self._trouble = None
        else:
            self._decided = content
            with self._current.candidate():
                self._decide(content)

    def _decide(self, content: str) -> None:
        started = time.monotonic()
        try:
            path = self._pointer.resolve(content)
            if path == self._current.path:
                return
            candidate = self._candidate(path)
        except TransientError as error:
            # Of the storage's, not the candidate's making: nothing is decided yet.
            self._decided = None
            self._tell(error)
        except (Exception, SystemExit) as error:  # load runs what users wrote; this thread must outlive it
            self._refuse(error)
        else:
            self._swap(candidate, path, time.monotonic() - started)
            return
        # Only here is the error gone, and with it what its frames held of the candidate.
        compute.release_cached_memory()

    def _tell(self, error: Exception) -> None:
        """Logs trouble that passes, once."""
        if str(error) != self._trouble:
            self._trouble = str(error)
            _LOGGER.warning("%s; going on with %s", _one_line(error), self._current.model.model_id)

    def _candidate(self, path: str) -> Model:
        with _polite():
            candidate = self._load(path)
        ours = self._current.model.outputs
        if candidate.outputs != ours:
            raise ModelError(
                f"--model_pointer: {path} answers {candidate.outputs}, the model of this job {ours}: "
                "for another output, start another job"
            )
        return candidate

    def _swap(self, candidate: Model, path: str, seconds: float) -> None:
        old = self._current.model
        with self._swapping:
            if self._closed.is_set():
                return
            self._current.swap(candidate, path)
        self._replaced = weakref.ref(old)
        _LOGGER.info("swapped the model: %s -> %s, in %.1f s", old.model_id, candidate.model_id, seconds)

    def _refuse(self, error: BaseException) -> None:
        with self._swapping:
            if self._closed.is_set():
                return
            self._current.count_refusal()
        reason = _one_line(error)
        if not isinstance(error, ModelError):
            reason = f"{type(error).__name__}: {reason}"
        if _ran_out_of_memory(error):
            reason += " (during a swap, memory holds two models)"
        _LOGGER.warning("refused a new model, going on with %s: %s", self._current.model.model_id, reason)

    def _release_replaced(self) -> None:
        if self._replaced is not None and self._replaced() is None:
            self._replaced = None
            compute.release_cached_memory()


@contextmanager
def _polite() -> Iterator[None]:
    """Has this thread rest again and again. Loading is Python, and whoever serves needs the interpreter, too.

    Python itself would let the thread run for 5 ms whenever another one wants to go on, which happens dozens
    of times while one request is served.
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


def _folder(path: str) -> str:
    return os.path.dirname(path) if files.is_local(path) else path.rpartition("/")[0]


def _local_path(root: str, content: str) -> str | None:
    folder = Path(os.path.realpath(root))
    path = Path(os.path.realpath(folder / content))
    return str(path) if files.is_local(content) and folder in path.parents else None


def _remote_path(root: str, content: str) -> str | None:
    start = root.rstrip("/") + "/"
    path = start + content if files.is_local(content) else content
    parts = path.removeprefix(start).split("/")
    # Some of these filesystems have real folders, in which .. leads up.
    return path if path.startswith(start) and not {"", ".", ".."} & set(parts) else None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _ran_out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if compute.is_out_of_memory(error):
            return True
        error = error.__cause__ or error.__context__
    return False
