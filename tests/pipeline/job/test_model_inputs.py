"""`--input_shape` of a job that is not given one."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

from pipeline.job.command_line import spelt, texts
from pipeline.job.model_inputs import with_input_shape
from pipeline.request.errors import ModelError
from tests.pipeline.job.test_command_line import GOOD
from tests.pipeline.model.files.test_input_shape import BATCH, export_named, save


def completed(*arguments: str) -> list[str]:
    names = [f"--{name}={value}" for name, value in GOOD.items() if name != "model_path"]
    argv = [*names, *arguments]
    added = with_input_shape(argv, texts(argv))
    assert added[: len(argv)] == argv
    return added[len(argv) :]


def test_the_model_says_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    export_named(tmp_path / "m.pt2")
    expected = ["--input_shape=ids:int64:4,scale:float32:3"]
    assert completed(f"--model_path={tmp_path}/m.pt2") == expected
    assert expected[0] in caplog.text
    (tmp_path / "current").write_text("m.pt2\n")
    assert completed(f"--model-pointer={tmp_path}/current") == expected


@pytest.mark.parametrize("given", ["--input_shape=3", "--input-shape=3"])
def test_what_is_given_counts(given: str, tmp_path: Path) -> None:
    export_named(tmp_path / "m.pt2")
    assert completed(f"--model_path={tmp_path}/m.pt2", given) == []


def test_an_empty_one_is_not_given(tmp_path: Path) -> None:
    export_named(tmp_path / "m.pt2")
    argv = spelt(
        [*(f"--{name}={value}" for name, value in GOOD.items()), "--input-shape=", "--model_pointer="]
    )
    argv.append(f"--model_path={tmp_path}/m.pt2")
    assert with_input_shape(argv, texts(argv))[-1] == "--input_shape=ids:int64:4,scale:float32:3"


def test_the_other_mode_has_no_model(tmp_path: Path) -> None:
    export_named(tmp_path / "m.pt2")
    assert completed("--inference_mode=endpoint", f"--model_path={tmp_path}/m.pt2") == []


def test_files_that_do_not_say_it_leave_the_default(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save({}, tmp_path / "m.pt")
    assert completed(f"--model_path={tmp_path}/m.pt") == []
    assert caplog.text == ""
    assert completed(f"--model_path={tmp_path}/gone.pt2") == []
    assert "--input_shape: not given, and not read from the model" in caplog.text
    assert completed(f"--model_pointer={tmp_path}/gone") == []
    os.mkfifo(tmp_path / "fifo.pt2")  # nobody waits for it
    (tmp_path / "current").write_text("fifo.pt2")
    assert completed(f"--model_pointer={tmp_path}/current") == []
    assert "fifo.pt2 is no regular file" in caplog.text


def test_inputs_that_no_flag_can_name(tmp_path: Path) -> None:
    save(tmp_path / "m.pt2", torch.nn.ReLU(), (torch.zeros(2),), None, ({0: BATCH},))
    with pytest.raises(ModelError, match="--input_shape: missing, and .*m.pt2 does not say it: its input"):
        completed(f"--model_path={tmp_path}/m.pt2")
