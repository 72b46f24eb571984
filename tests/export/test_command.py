"""`./launch.sh export triton`: its flags, what it prints, its exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from export.__main__ import main
from tests.export.models import Repeating, save
from tests.integration.conftest import MODEL
from tests.waiting import LIMIT_S


def test_what_is_printed_leads_on_to_the_deployment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my models"
    flags = [f"--model_path={MODEL}", f"--out={out}", "--max-batch-size", "16", "--model-name=autoencoder"]
    assert main(["triton", *flags]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"written: {out}/autoencoder/1, and {out}/autoencoder/config.pbtxt\n")
    assert "on random batches of 1, 2, 3, 7, 16 rows it answers as the model does" in printed
    assert f"gcloud storage rsync --recursive '{out}' gs://BUCKET/repository" in printed
    assert "./launch.sh endpoint deploy --server=triton" in printed
    assert printed.endswith("--endpoint_protocol=triton --input_shape=30 --endpoint_batch_size=16\n")


def test_a_model_that_cannot_be_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = save(tmp_path / "repeating.pt2", Repeating(), torch.zeros(2, 3))
    assert main(["triton", f"--model-path={file}", f"--out={tmp_path / 'repository'}"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(
        "export: --format=torchscript: what was made of the model is not the model: "
    )
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], ["--model-path: missing: the model", "--out: missing: folder"]),
        (["--model-path=m", "--out=r", "--device=tpu"], ["--device: 'tpu' is not one of: cpu, gpu"]),
        (
            ["--model-path=m", "--out=r", "--model-nam=a"],
            ["--model-nam: there is no such flag; did you mean "],
        ),
        (["--model-path=m", "--out=gs://b/r"], ["--out: 'gs://b/r' is not a folder of this machine"]),
        (
            ["--model-path=m", "--out=r", "--model-name=a/b"],
            ["--model-name: 'a/b' is not the name of a model"],
        ),
        (["--model-path=m", "--out=r", "--input-shape=x"], ["--input-shape: 'x' is not a shape"]),
        (["--model-path=m", "--out=r", "--version=0"], ["--version: '0' is not a whole number from 1"]),
    ],
)
def test_wrong_flags(flags: list[str], said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["triton", *flags]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(said)
    assert all(line.startswith(start) for line, start in zip(lines, said, strict=True))


@pytest.mark.parametrize(("argv", "code"), [(["--help"], 0), ([], 2), (["tritn"], 2)])
def test_usage(argv: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == code
    printed = capsys.readouterr()
    assert (printed.err if code else printed.out).startswith("usage: ./launch.sh export triton")


def test_its_flags_are_read_without_torch() -> None:
    code = "import export.__main__, sys; print({'apache_beam', 'torch'} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    assert ran.stdout.strip() == "set()"
