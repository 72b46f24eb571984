"""The inputs of the model where `--input_shape` is not given: those that its file names."""

from __future__ import annotations

import logging
from pathlib import Path

from pipeline.model.files.input_shape import UnknownShapeError, input_shape
from pipeline.options.job_options import DEFAULT_INPUT_SHAPE
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec

_LOGGER = logging.getLogger(__name__)


def inputs_of(model_file: Path) -> InputSpec:
    """Return the inputs that a .pt2 names; of a file of another kind, `DEFAULT_INPUT_SHAPE`.

    A file that is missing or out of reach is told of when it is loaded.

    Raises:
        ModelError: The file is a .pt2, and its inputs are none that `--input_shape` can name.
    """
    try:
        text = input_shape(str(model_file))
    except UnknownShapeError as error:
        raise ModelError(f"--input_shape: missing, and {model_file} does not say it: {error}") from error
    except OSError:
        text = None
    if text is None:
        return InputSpec.parse(DEFAULT_INPUT_SHAPE)
    _LOGGER.info("--input_shape=%s, as %s says", text, model_file)
    return InputSpec.parse(text)
