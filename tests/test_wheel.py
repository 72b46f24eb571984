"""The wheel of `pipeline/`, built and installed as the image does it, away from this folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.dockerfiles.ignore_files import SECRETS, plant

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what packages are made of, with secrets beside it."""
    folder = tmp_path_factory.mktemp("checkout")
    # A copy: the build leaves folders beside its sources.
    for name in ("setup.py", "pyproject.toml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    for name in ("pipeline", "broker", "loadtest", "serving"):
        (folder / name).mkdir()
        for path in (ROOT / name).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                copy = folder / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    plant(folder, SECRETS)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    if find_spec("pip") is None:
        pytest.skip("this environment has no pip: uv makes them without")
    pip(checkout, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", "out", ".")
    (built,) = (checkout / "out").glob("*.whl")
    return built


def pip(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


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
    target = tmp_path / "installed"
    pip(tmp_path, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    # Third parties from this environment, by path: what its .pth files add, such as this checkout, stays out.
    path = os.pathsep.join([str(target), sysconfig.get_path("purelib")])
    command = "import pipeline, sys; print(pipeline.__file__); print('\\n'.join(sys.path))"
    clean = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}

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
