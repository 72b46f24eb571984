"""The wheel of `pipeline/`, built and installed as the image does it, away from this folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.dockerfiles.ignore_files import SECRETS, plant
from tests.wheels import ROOT, built_wheel, copy_packages, install, path_without_checkout

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what packages are made of, with secrets beside it."""
    folder = copy_packages(tmp_path_factory.mktemp("checkout"))
    plant(folder, SECRETS)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    return built_wheel(checkout)


def test_it_holds_the_job_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {name for name in names if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "pipeline").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == wanted
    assert {"pipeline/io/bigquery_schema.json", "pipeline/options/job_options.py"} <= shipped


def test_what_beam_stages_of_a_setup_file_holds_no_secret(checkout: Path) -> None:
    # --setup_file has Beam make a source distribution and upload it.
    command = [sys.executable, "setup.py", "-q", "sdist", "--dist-dir=staged"]
    ended = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    (built,) = (checkout / "staged").glob("*.tar.gz")
    with tarfile.open(built) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert "pipeline/options/job_options.py" in names
    assert names & set(SECRETS) == set()


def test_it_runs_where_nothing_else_of_ours_is(wheel: Path, tmp_path: Path) -> None:
    target = install(wheel, tmp_path / "installed")
    command = "import pipeline, sys; print(pipeline.__file__); print('\\n'.join(sys.path))"
    clean = {**os.environ, "PYTHONPATH": path_without_checkout(target), "PYTHONSAFEPATH": "1"}

    def run(*arguments: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-S", *arguments], cwd=tmp_path, env=clean, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    where, *searched = run("-c", command).splitlines()
    assert where == str(target / "pipeline/__init__.py")
    assert str(ROOT) not in searched
    assert "--input_subscription" in run("-m", "pipeline", "--help")
