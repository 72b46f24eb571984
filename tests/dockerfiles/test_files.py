"""The files of the images: what is copied is there, and it is enough.

Images are built by tests/images, where buildah can be had. What they would hold is tried here all the same,
as a folder of links to just that.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.dockerfiles.dockerfile import (
    DEVICES,
    ROOT,
    STAGES,
    closure,
    copies,
    installed,
    sources,
)
from tests.dockerfiles.ignore_files import kept_by_dockerignore


@pytest.mark.parametrize("name", [*STAGES, "wheel"])
@pytest.mark.parametrize("device", DEVICES)
def test_all_that_is_copied_is_there_and_not_ignored(device: str, name: str) -> None:
    assert sources(device, name)
    for source in sources(device, name):
        path = ROOT / source
        assert path.is_dir() if source.endswith("/") else path.is_file(), source
        assert kept_by_dockerignore(source), source


@pytest.mark.parametrize(
    "path",
    [".git", ".venv/bin/python", "runs/last/results.jsonl", "tests", "launch.env", "docs", "requirements"],
)
def test_the_rest_is_ignored(path: str) -> None:
    assert not kept_by_dockerignore(path)


def test_a_model_of_ones_own_is_not_ignored() -> None:
    assert kept_by_dockerignore("models/own.pt2")
    assert kept_by_dockerignore("pipeline/job/main.py")
    assert kept_by_dockerignore("pipeline/io/bigquery_schema.json")
    assert not kept_by_dockerignore("pipeline/io/__pycache__/x.pyc")


_SERVING = """
import pkgutil, sys
from pathlib import Path
import google.cloud.storage, numpy
import serving
for module in pkgutil.walk_packages(serving.__path__, "serving."):
    __import__(module.name)
from pipeline.model.active_model import ActiveModel
from pipeline.model.load import load
from pipeline.request.input_spec import InputSpec
from serving.exchange import Exchange
from serving.model_call import ModelCall
from serving.predictor import Predictor
spec = InputSpec.parse("30")
predictor = Predictor(ActiveModel(load(sys.argv[1], spec, max_batch_size=2)), spec, 2)
exchange = Exchange(None, headers={b"content-type": [b"application/x-float32"]})
call = ModelCall(exchange, bytes(240), 0.0)
predictor.answer([call], lambda: None, lambda answered: [print(each.content_type) for _, each in answered])
"""


def image_in(folder: Path, name: str) -> None:
    """Links to the packages that an image installs, and to what it copies, and to nothing else."""
    for distribution in closure(installed("cpu", name)).values():
        for file in distribution.files or []:
            # A package that only one distribution has, as a whole: torch alone has 15,000 files.
            shared = file.parts[0] in ("google", "opentelemetry")
            entry = file if shared or len(file.parts) == 1 else Path(file.parts[0])
            link = folder / entry
            source = Path(str(distribution.locate_file(entry)))
            if ".." in file.parts or link.exists() or not source.exists():
                continue
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source)
    copied = copies("cpu", name) + ([("pipeline/", "pipeline/")] if name == "worker" else [])
    for name_here, destination in copied:
        link = folder / destination.strip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ROOT / name_here)


def run_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # -S: nothing of this environment is found but what the folder links to.
    return subprocess.run([sys.executable, "-S", *arguments], cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_the_packages_and_files_of_serving_are_enough(tmp_path: Path) -> None:
    image_in(tmp_path, "serving")
    model = ROOT / "examples" / "breast_cancer" / "model.pt2"
    run = run_in(tmp_path, "-c", _SERVING, str(model))
    assert (run.returncode, run.stdout) == (0, "application/x-float32; shape=2\n"), run.stderr


@pytest.mark.slow
def test_the_packages_and_files_of_the_worker_are_enough(tmp_path: Path) -> None:
    image_in(tmp_path, "worker")
    # A link would put the folder of what it points to first in sys.path.
    (tmp_path / "main.py").unlink()
    (tmp_path / "main.py").write_bytes((ROOT / "docker/main.py").read_bytes())
    shown = run_in(tmp_path, "main.py", "--help")
    assert "--input_subscription" in shown.stdout, shown.stderr
    harness = "import apache_beam.runners.worker.sdk_worker_main, pipeline.inference.local.handler"
    assert run_in(tmp_path, "-c", harness).returncode == 0
