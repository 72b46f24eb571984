"""Triton in the place of the endpoint container of a local run, with the job's model in it."""

from __future__ import annotations

import threading
from pathlib import Path

from local.children import OnFailure
from local.triton.repository import add_job_model
from local.triton.server import Triton

_MODEL = "model"


class TritonContainer(Triton):
    """A Triton that computes the job's model by the job's own code, in one process on the CPU."""

    def __init__(
        self, model_path: str, input_shape: str, repository: Path, log: Path, *, on_failure: OnFailure
    ) -> None:
        """Start it.

        Args:
            model_path: Of the model file, on this machine.
            input_shape: As --input_shape has it.
            repository: Folder of its own for the model repository.
            log: Receives what it prints, emptied at the start.
            on_failure: Called once `failure` is set.

        Raises:
            TritonError: It is not installed.
        """
        add_job_model(repository, _MODEL, Path(model_path), input_shape)
        super().__init__(repository, log, on_failure=on_failure)

    def predict_url(self, stop: threading.Event) -> str:
        """Wait until it is ready, for at most 120 s, and return the URL of its predictions.

        Raises:
            ChildError: It ended, or was not ready in time.
            RunError: `stop` was set meanwhile.
        """
        self.await_ready(stop)
        return self.infer_url(_MODEL)
