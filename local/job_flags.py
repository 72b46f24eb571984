"""The job's flags in a local run: what the run must understand of them, and what is wrong with them."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence

from local.triton import installation
from pipeline.model.files.input_shape import UnknownShapeError, input_shape
from pipeline.options.address import TRITON
from pipeline.options.job_options import DEFAULT_INPUT_SHAPE, ENDPOINT, FLAGS
from pipeline.options.spelling import with_underscores
from pipeline.request.input_spec import InputSpec

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
# The run has its own.
_SET_HERE = ("runner", "input_subscription", "output_topic", "dead_letter_topic")
_READ = (
    *("inference_mode", "endpoint", "endpoint_url", "endpoint_protocol"),
    *("model_path", "model_pointer", "decode_hook"),
    *_SHARED,
    *_SET_HERE,
)
_MODEL_FLAGS = {"model_path", "model_pointer", "input_shape"}
_A_URL = "http://127.0.0.1:1/predict"  # in place of that of a container that has not been started


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
        spelt = with_underscores(arguments, [*(flag.name for flag in FLAGS), *_SET_HERE])
        # One that is empty, --name=, is not given.
        given = [text for text in spelt if text.partition("=")[1:] != ("=", "")]
        named, _ = parser.parse_known_args(given)
        self._arguments = spelt
        self._default_model = default_model
        self._given: dict[str, str] = {name: text for name, text in vars(named).items() if text is not None}

    @property
    def asks_for_help(self) -> bool:
        """Whether they are to be explained rather than used."""
        return bool({"--help", "-h", "--help_beam", "--help-beam"} & set(self._arguments))

    def help_text(self) -> str:
        """Return what the job says of its flags."""
        from pipeline.job import command_line  # here for the reason given in `problems`

        return command_line.help_text(self._arguments) or ""

    @property
    def text(self) -> str:
        """The flags as one could type them."""
        return shlex.join(self._arguments)

    @property
    def own_model(self) -> bool:
        """Whether the model is another than the example's, which alone takes the example's records."""
        return bool(self._given.keys() & _MODEL_FLAGS)

    @property
    def has_decode_hook(self) -> bool:
        """Whether a function of the user's makes the inputs, so that nobody else knows what a request is."""
        return "decode_hook" in self._given

    def input_shape(self) -> str:
        """Return the model's --input_shape: as given, else as its .pt2 file here says, else the default.

        Raises:
            ValueError: The file is wrong; the message says what is.
        """
        return self._given.get("input_shape") or self._shape_in_file() or DEFAULT_INPUT_SHAPE

    def input_spec(self) -> InputSpec:
        """Return the model's inputs, those of `input_shape`.

        Raises:
            ValueError: The flag or the file is wrong; the message says what is.
        """
        return InputSpec.parse(self.input_shape())

    def _shape_in_file(self) -> str | None:
        try:
            return input_shape(self._given.get("model_path", self._default_model))
        except OSError:
            return None  # not here; the job says so if it needs it
        except UnknownShapeError as error:
            raise ValueError(f"missing, and the model's file does not say it: {error}") from error

    def problems(self, names: Sequence[str], modes: Sequence[str]) -> list[str]:
        """Return what is wrong with them, a sentence each: what the job would say, or a local run refuses.

        Args:
            names: The job's flags that the run sets.
            modes: Both inference modes where both are to run; else none.
        """
        refused = [
            f"--{name}: a local run sets it itself; leave it out, or run `python -m pipeline`"
            for name in _SET_HERE
            if name in self._given
        ]
        if refused or not self._arguments:
            return refused
        # Here, as it brings Beam: half a second of processor time, which a run without flags need not spend.
        from pipeline.job import command_line

        found: list[str] = []
        for flags in [self.in_mode(mode) for mode in modes] or [self]:
            url = _A_URL if flags.needs_container else None
            if url is not None and self.asks_for_triton:
                found += self._triton_problems()
            found += command_line.problems([*names, *flags.for_job(url)])
        return list(dict.fromkeys(found))

    @property
    def inference_mode(self) -> str | None:
        """The mode they ask for; None where they leave it to the job."""
        return self._given.get("inference_mode")

    @property
    def needs_container(self) -> bool:
        """Whether they ask for endpoint mode and name no endpoint."""
        return self.inference_mode == ENDPOINT and not self._given.keys() & {"endpoint", "endpoint_url"}

    @property
    def asks_for_triton(self) -> bool:
        """Whether the endpoint is to be a Triton."""
        return self._given.get("endpoint_protocol") == TRITON

    @property
    def asks_for_gpu(self) -> bool:
        """Whether the job is to compute on a GPU and refuses to start without one."""
        return self._given.get("device") == "gpu"

    @property
    def has_no_model_for_a_container(self) -> bool:
        """Whether they name the model by a pointer alone, which the container does not follow."""
        return "model_pointer" in self._given and "model_path" not in self._given

    def in_mode(self, mode: str) -> JobFlags:
        """Return the same flags for one mode; the job ignores those of the other."""
        return self.followed_by([f"--inference_mode={mode}"])

    def followed_by(self, arguments: Sequence[str]) -> JobFlags:
        """Return the same flags with others after them, which count where both are given."""
        return JobFlags([*self._arguments, *arguments], self._default_model)

    def for_job(self, endpoint_url: str | None = None) -> list[str]:
        """Return the job's command line; `endpoint_url` is that of the container started for it."""
        if endpoint_url is not None:
            return [*self._arguments, *self._read_shape(), f"--endpoint_url={endpoint_url}"]
        if self.inference_mode == ENDPOINT or self._given.keys() & {"model_path", "model_pointer"}:
            return self._arguments
        return [f"--model_path={self._default_model}", *self._arguments]

    def for_container(self) -> tuple[str, list[str]]:
        """Return the folder of the model file (AIP_STORAGE_URI) and the flags of `python -m serving`."""
        folder, file = os.path.split(self._given.get("model_path", self._default_model))
        shared = [f"--{name}={self._given[name]}" for name in _SHARED if name in self._given]
        return folder or ".", [f"--model_file={file}", *shared]

    def for_triton(self) -> tuple[str, str]:
        """Return the path of the model file and its inputs' shape, for a Triton that is started here."""
        return self._given.get("model_path", self._default_model), self.input_shape()

    def _triton_problems(self) -> list[str]:
        if reason := installation.why_not():
            what = f"Triton cannot run here ({reason})"
        elif not installation.is_installed():
            what = f"Triton is not installed here ({installation.COMMAND})"
        elif "model_class" in self._given:
            what = "a Triton that is started here takes no --model_class: export the model"
        else:
            return []
        return [f"--endpoint_protocol=triton: {what}; or name a Triton by --endpoint_url"]

    def _read_shape(self) -> list[str]:
        """Return the flag that the model's file stands in for; a job in endpoint mode does not read it."""
        if "input_shape" in self._given or "model_path" not in self._given:
            return []
        shape = self._shape_in_file()
        return [] if shape is None else [f"--input_shape={shape}"]
