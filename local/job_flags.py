"""The job's flags, as far as a local run must understand them; the job itself checks them all."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from pipeline.options.job_options import ENDPOINT

# The job and the endpoint container know these by the same name and in the same form.
_SHARED = (
    "model_class",
    "model_params",
    "input_shape",
    "max_batch_size",
    "device",
    "precision",
    "cuda_graphs",
)
_READ = ("inference_mode", "endpoint", "endpoint_url", "model_path", "model_pointer", *_SHARED)


class JobFlags:
    """What the user wrote for the job, as --name=value or as --name value; the last of several counts.

    Args:
        arguments: The flags as given.
        default_model: Path of the model file where they name none.
    """

    def __init__(self, arguments: Sequence[str], default_model: str) -> None:
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        for name in _READ:
            # A flag without a value is left for the job to refuse.
            parser.add_argument(f"--{name}", nargs="?", const="")
        # One that is empty, --name=, is not given.
        given = [text for text in arguments if text.partition("=")[1:] != ("=", "")]
        named, _ = parser.parse_known_args(given)
        self._arguments = list(arguments)
        self._default_model = default_model
        self._given: dict[str, str] = {name: text for name, text in vars(named).items() if text is not None}

    @property
    def inference_mode(self) -> str | None:
        """The mode they ask for; None where they leave it to the job."""
        return self._given.get("inference_mode")

    @property
    def needs_container(self) -> bool:
        """Whether they ask for endpoint mode and name no endpoint."""
        return self.inference_mode == ENDPOINT and not self._given.keys() & {"endpoint", "endpoint_url"}

    @property
    def has_no_model_for_a_container(self) -> bool:
        """Whether they name the model by a pointer alone, which the container does not follow."""
        return "model_pointer" in self._given and "model_path" not in self._given

    def in_mode(self, mode: str) -> JobFlags:
        """Return the same flags for one mode; the job ignores those of the other."""
        return JobFlags([*self._arguments, f"--inference_mode={mode}"], self._default_model)

    def for_job(self, endpoint_url: str | None = None) -> list[str]:
        """Return the job's command line; `endpoint_url` is that of the container started for it."""
        if endpoint_url is not None:
            return [*self._arguments, f"--endpoint_url={endpoint_url}"]
        if self.inference_mode == ENDPOINT or self._given.keys() & {"model_path", "model_pointer"}:
            return self._arguments
        return [f"--model_path={self._default_model}", *self._arguments]

    def for_container(self) -> tuple[str, list[str]]:
        """Return the folder of the model file (AIP_STORAGE_URI) and the flags of `python -m serving`."""
        folder, file = os.path.split(self._given.get("model_path", self._default_model))
        shared = [f"--{name}={self._given[name]}" for name in _SHARED if name in self._given]
        return folder or ".", [f"--model_file={file}", *shared]
