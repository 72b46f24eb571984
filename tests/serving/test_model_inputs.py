"""Where `--input_shape` is not given, the model's file names its inputs, or the default stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.model.files.stored_files import StoredFiles
from pipeline.options.job_options import DEFAULT_INPUT_SHAPE
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec
from serving.cloud_storage import CloudStorage
from serving.model_inputs import inputs_of
from tests.pipeline.model.files import hostile
from tests.pipeline.model.files.test_model_files import export

FILES = StoredFiles(CloudStorage())


def test_a_pt2(tmp_path: Path) -> None:
    assert inputs_of(FILES, str(export(tmp_path / "m.pt2"))) == InputSpec.parse("3")


@pytest.mark.parametrize("make", [lambda path: path.write_bytes(b"no archive"), lambda path: None])
def test_of_other_files_and_of_none_it_is_the_default(make: object, tmp_path: Path) -> None:
    assert callable(make)
    make(tmp_path / "m.pt")
    assert inputs_of(FILES, str(tmp_path / "m.pt")) == InputSpec.parse(DEFAULT_INPUT_SHAPE)


def test_a_pt2_whose_inputs_cannot_be_named(tmp_path: Path) -> None:
    parts = hostile.parts_of(export(tmp_path / "good.pt2"))
    broken = hostile.replaced(parts, hostile.PROGRAM, b"{}")
    with pytest.raises(ModelError, match=r"^--input_shape: missing, and .*m\.pt2 does not say it: "):
        inputs_of(FILES, str(hostile.write(tmp_path / "m.pt2", broken)))
