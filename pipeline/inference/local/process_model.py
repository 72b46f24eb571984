"""The one model of a process, and all that runs it: loading, batching, swapping."""

from __future__ import annotations

import contextlib
import gc
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch

from pipeline import metrics
from pipeline.batching.batch_runner import BatchRunner, BatchSlice, BundleInputs, DeviceLostError
from pipeline.batching.batcher import Batcher
from pipeline.batching.results import answers
from pipeline.inference.local import files
from pipeline.inference.local.pointer import ModelPointer
from pipeline.inference.local.watcher import ModelWatcher
from pipeline.model import compute, golden
from pipeline.model import model as models
from pipeline.model.active_model import ActiveModel
from pipeline.model.compute import Compute
from pipeline.options.job_options import JobOptions
from pipeline.options.workers import torch_threads
from pipeline.process.exit import give_back_and_exit
from pipeline.request.errors import ModelError, TransientError
from pipeline.request.messages import DeadLetter, Request, Result

_LOGGER = logging.getLogger(__name__)

# While one batch is computed, the next is put together and copied.
_CONCURRENT_BATCHES_ON_GPU = 2
_EXIT_TRY_AGAIN = 3


class ProcessModel:
    """What all bundle threads of a process share."""

    def __init__(self, options: JobOptions, on_dataflow: bool) -> None:
        """Loads the model.

        Raises:
            ModelError: the model or the pointer to it is of no use; the message names the flag and the file.
            TransientError: the storage that holds them cannot be read now.
        """
        self._options = options
        self._threads = torch_threads(options, on_dataflow)
        self._prepare_thread()
        # Modules and classes stay as long as the process. Left to the garbage collector, Beam and torch make
        # each full collection stop all threads for some 280 ms. The model comes after: it may be replaced.
        gc.collect()
        gc.freeze()
        self._watcher: ModelWatcher | None = None
        if options.model_pointer is None:
            assert options.model_path is not None
            self._active = ActiveModel(self._load(options.model_path, "--model_path"))
        else:
            pointer = ModelPointer(options.model_pointer, options.model_root)
            path = pointer.path()
            self._active = ActiveModel(self._load_checked(path), path)
            self._watcher = ModelWatcher(self._active, pointer, self._load_checked, options.model_refresh_s)
            self._watcher.start()
        on_gpu = self._active.model.device.startswith("cuda")
        self._lanes_to_warm = _CONCURRENT_BATCHES_ON_GPU if on_gpu else 0
        self._passes = BatchRunner(self._active)
        self._batcher: Batcher[BundleInputs, BatchSlice] = Batcher(
            self._run,
            max_batch_size=options.max_batch_size,
            max_wait_s=options.max_batch_wait_ms / 1000,
            timeout_s=options.inference_timeout_s,
            concurrent_batches=_CONCURRENT_BATCHES_ON_GPU if on_gpu else 1,
            prepare_thread=self._prepare_lane,
        )

    def __str__(self) -> str:
        return str(self._active.model)

    def submit(self, requests: Sequence[Request]) -> list[Result | DeadLetter]:
        """The answers to one bundle's requests, in the same order. To be called on a bundle thread.

        Raises:
            TransientError: the model took longer than --inference_timeout_s, or the process is stopping.
        """
        # As much as can be is done here rather than on the batcher's thread, for which all bundles wait, and
        # to whose core each object would have to travel: one block goes there, and one share comes back.
        inputs = self._options.input_shape.stack([request.inputs for request in requests])
        share = self._batcher.submit(BundleInputs(inputs, len(requests)), len(requests))
        metrics.count_models(*self._active.take_counts())
        return answers(requests, share, allow_nan=self._options.allow_nan)

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
        self._batcher.close()

    def _run(self, blocks: list[BundleInputs]) -> list[BatchSlice]:
        try:
            return self._passes(blocks)
        except DeviceLostError as error:
            _end(error)

    def _load(self, path: str, flag: str, *, checked: bool = False) -> models.Model:
        options = self._options
        called = f"{flag}: {path}"
        try:
            with tempfile.TemporaryDirectory(prefix="model-") as folder:
                model = models.load(
                    str(_fetch(path, folder, ModelError(f"{called}: there is no file"))),
                    options.input_shape,
                    model_class=options.model_class,
                    model_params=options.model_params,
                    max_batch_size=options.max_batch_size,
                    compute=Compute(options.device, options.precision, options.compile, options.cuda_graphs),
                    called=called,
                )
                if checked:
                    golden.check(
                        model,
                        _fetch(path + golden.SUFFIX, folder, golden.missing(called, options.input_shape)),
                        options.input_shape,
                        options.precision,
                        max_batch_size=options.max_batch_size,
                        called=called,
                    )
        except OSError as error:
            if files.is_local(path):
                raise ModelError(f"{called}: {error}") from error
            # Storage trouble, a full disk: the same may work in a moment.
            raise TransientError(f"{called}: {error}") from error
        return model

    def _load_checked(self, path: str) -> models.Model:
        self._prepare_thread()
        try:
            return self._load(path, "--model_pointer", checked=True)
        except ModelError as error:
            if error.__cause__ is not None and compute.is_device_lost(error.__cause__):
                _end(error)
            raise

    def _prepare_lane(self) -> None:
        self._prepare_thread()
        # On a GPU a thread's first batch makes its buffers and handles, for which no request should wait. Not
        # where it takes the place of another whose call hangs: this one might, too.
        if self._lanes_to_warm:
            self._lanes_to_warm -= 1
            with contextlib.suppress(Exception):  # it will fail again with the first request
                self._active.model.warm_up()

    def _prepare_thread(self) -> None:
        # On each thread that computes: on one that never asked for torch's number of threads, the libraries
        # beneath take one for every core, whatever was set (2 cores, a batch of 12: 47 ms instead of 4.5).
        torch.set_num_threads(self._threads)


def _end(error: Exception) -> NoReturn:
    _LOGGER.critical(
        "%s. Only a new process can use the GPU again: this one ends; what was not answered comes again",
        error,
    )
    give_back_and_exit(_EXIT_TRY_AGAIN)


def _fetch(path: str, folder: str, missing: ModelError) -> Path:
    try:
        return files.fetch(path, Path(folder))
    except FileNotFoundError:
        raise missing from None
