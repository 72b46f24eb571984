"""The model that `--model_pointer` names: loaded at the start, and swapped when the pointer names another."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from pipeline.model import golden
from pipeline.model.active_model import ActiveModel
from pipeline.model.compute import Compute, is_device_lost
from pipeline.model.files.stored_files import StoredFiles
from pipeline.model.model import Model
from pipeline.model.swapping.loading import load_stored
from pipeline.model.swapping.pointer import ModelPointer
from pipeline.model.swapping.watcher import ModelWatcher
from pipeline.request.errors import ModelError
from serving.model_inputs import inputs_of
from serving.options import Options
from serving.turn import turn


class PointedModel:
    """The active model of a worker, which follows the pointer.

    Attributes:
        active: The active model.
        spec: Of the inputs, the same for every model that comes.
    """

    def __init__(
        self,
        options: Options,
        files: StoredFiles,
        turn_file: Path,
        torch_threads: int,
        on_device_lost: Callable[[str], None],
    ) -> None:
        """Load the model that the pointer names now; `watch` starts to follow it.

        Args:
            options: Of the container, with a pointer.
            files: Which the pointer and the models are among.
            turn_file: Workers take turns by it to load candidates, so that the memory holds one model more
                than there are workers, and all but one serve undisturbed.
            torch_threads: That torch may use.
            on_device_lost: Called with the reason when a candidate has cost the device.

        Raises:
            ModelError: The pointer, or the model that it names, is of no use.
            TransientError: The storage cannot be read now, or the disk is full.
        """
        assert options.model_pointer is not None
        self._options = options
        self._files = files
        self._torch_threads = torch_threads
        self._on_device_lost = on_device_lost
        self._compute = Compute(options.device, options.precision, cuda_graphs=options.cuda_graphs)
        self._pointer = ModelPointer(files, options.model_pointer, options.model_root)
        # Before the model, which may be replaced: what is frozen is never collected.
        gc.collect()
        gc.freeze()
        path = self._pointer.path()
        self.spec = options.spec or inputs_of(files, path)
        self.active = ActiveModel(self._load(path), path)
        self._watcher = ModelWatcher(
            self.active,
            self._pointer,
            self._load_candidate,
            options.model_refresh_s,
            turn=partial(turn, turn_file),
        )

    def watch(self) -> None:
        """Follow the pointer from now on, on a thread of its own, until the process ends."""
        self._watcher.start()

    def _load(self, path: str) -> Model:
        # Each thread has a number of its own.
        torch.set_num_threads(self._torch_threads)
        options = self._options
        return load_stored(
            self._files,
            path,
            self.spec,
            label=f"--model_pointer: {path}",
            golden_set=self._pointer.beside(path, golden.SUFFIX),
            model_class=options.model_class,
            model_params=options.model_params,
            max_batch_size=options.max_batch_size,
            compute=self._compute,
        )

    def _load_candidate(self, path: str) -> Model:
        try:
            return self._load(path)
        except ModelError as error:
            if error.__cause__ is not None and is_device_lost(error.__cause__):
                self._on_device_lost(str(error))
            raise
