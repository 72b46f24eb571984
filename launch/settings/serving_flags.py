"""The flags of the endpoint's container, as a deployment passes them on; serving/flags.py declares them.

Vertex AI shows a container's refusal of its flags only when the deployment has timed out: so they are read
here before.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from launch.settings.suggestion import did_you_mean
from pipeline.options import values
from pipeline.request.input_spec import InputSpec

INPUT_SHAPE = "input_shape"
DEVICE = "device"


def _any(text: str) -> str:
    return text


PARSERS: Mapping[str, Callable[[str], Any]] = {
    "host": _any,
    "workers": values.integer(1, 1_000),
    "model_file": values.path,
    "model_pointer": values.local_or_gs,
    "model_root": values.local_or_gs,
    "model_refresh_s": values.seconds,
    "model_class": values.class_name,
    "model_params": values.json_object,
    INPUT_SHAPE: InputSpec.parse,
    "max_batch_size": values.integer(1, 100_000),
    "max_batch_wait_ms": values.milliseconds,
    "max_queue_size": values.integer(1, 1_000_000),
    DEVICE: values.one_of("cpu", "gpu", "auto"),
    "precision": values.one_of("fp32", "fp16", "bf16"),
    "cuda_graphs": values.boolean,
    "predict_timeout_s": values.seconds,
    "load_timeout_s": values.seconds,
    "drain_s": _any,
    "log_format": values.one_of("json", "text", "auto"),
}


def parse(text: str) -> dict[str, str]:
    """Return the values by flag, without dashes, of `--name=value --name value`, quoted as for a shell.

    Raises:
        ValueError: A quote is not closed, the container has no such flag, or takes no such value.
    """
    found: dict[str, str] = {}
    words = shlex.split(text)
    while words:
        flag, equals, value = words.pop(0).partition("=")
        name = flag.removeprefix("--")
        if not flag.startswith("--") or name not in PARSERS:
            known = [f"--{each}" for each in PARSERS]
            fix = did_you_mean(flag, known, f"it has {', '.join(known)}")
            raise ValueError(f"{flag}: the container has no such flag; {fix}")
        if not equals:
            if not words or words[0].startswith("--"):
                raise ValueError(f"{flag}: needs a value, as in {flag}=VALUE")
            value = words.pop(0)
        if name in found:
            raise ValueError(f"{flag}: given twice")
        try:
            PARSERS[name](value)
        except ValueError as error:
            raise ValueError(f"{flag}: {error}") from None
        found[name] = value
    return found
