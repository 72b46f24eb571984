"""The inputs of the model where `--input_shape` is not given: those that its file names."""

from __future__ import annotations

import logging

from pipeline.model.files.input_shape import UnknownShapeError, input_shape
from pipeline.model.files.stored_files import StoredFiles
from pipeline.options.job_options import DEFAULT_INPUT_SHAPE
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec

_LOGGER = logging.getLogger(__name__)


def inputs_of(files: StoredFiles, path: str) -> InputSpec:
    """Return the inputs that a .pt2 names; of a file of another kind, `DEFAULT_INPUT_SHAPE`.

    A file that is missing or out of reach is told of when it is loaded.

    Args:
        files: Which the model's is among.
        path: Of the model's file.

    Raises:
        ModelError: The file is a .pt2, and its inputs are none that `--input_shape` can name.
    """
    try:
        with files.opened(path) as file:
            text = input_shape(file)
    except UnknownShapeError as error:
        raise ModelError(f"--input_shape: missing, and {path} does not say it: {error}") from error
    except OSError:
        text = None
    if text is None:
        return InputSpec.parse(DEFAULT_INPUT_SHAPE)
    _LOGGER.info("--input_shape=%s, as %s says", text, path)
    return InputSpec.parse(text)
