"""What leaves the checkout for a build: allow-lists, tried on a checkout that is full of secrets."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from launch.commands.table import BUILD
from tests.dockerfiles.dockerfile import DEVICES, ROOT
from tests.dockerfiles.ignore_files import SECRETS, kept_by_dockerignore, plant, rules
from tests.launch.conftest import ENVIRON
from tests.launch.shell_lines import printed

OWN_MODELS = ("models/own.pt2", "models/own.pt", "models/own.pth")
# What says how to build, beside what is copied into an image.
HOW_TO_BUILD = {".dockerignore", "cloudbuild.yaml", *(f"Dockerfile.{device}" for device in DEVICES)}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of what is in version control, with secrets and models of one's own beside it."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs git, and a checkout of it")
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0")[:-1]:
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
    for name in (".gcloudignore", ".dockerignore"):
        shutil.copy(ROOT / name, tmp_path)
    plant(tmp_path, SECRETS + OWN_MODELS)
    return tmp_path


def run(*argv: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    return subprocess.run(argv, cwd=cwd, env=env, check=True, capture_output=True, text=True).stdout


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def wanted(checkout: Path) -> list[str]:
    """Return what Docker's context holds, and what says how to build."""
    return [path for path in files_of(checkout) if kept_by_dockerignore(path) or path in HOW_TO_BUILD]


def assert_complete_and_without_secrets(uploaded: Sequence[str]) -> None:
    assert not set(uploaded) & set(SECRETS)
    assert set(OWN_MODELS) | HOW_TO_BUILD <= set(uploaded)
    code = [path for path in files_of(ROOT / "pipeline") if path.endswith((".py", ".json", "py.typed"))]
    assert {f"pipeline/{path}" for path in code} <= set(uploaded)


@pytest.mark.parametrize("path", SECRETS)
def test_docker_is_sent_no_secret(path: str) -> None:
    assert not kept_by_dockerignore(path)


def test_gcloud_is_told_what_docker_is_told() -> None:
    own = [f"!/{name}" for name in sorted(HOW_TO_BUILD)]
    assert sorted(rules(".gcloudignore")) == sorted(rules(".dockerignore") + own)
    # Their order decides.
    assert [line for line in rules(".gcloudignore") if line not in own] == rules(".dockerignore")


def test_the_upload_as_git_reads_its_rules(checkout: Path) -> None:
    # gcloud takes git's rules; git is where gcloud is not.
    run("git", "init", "--quiet", cwd=checkout)
    listed = run(
        *("git", "ls-files", "-z", "--others", "--exclude-from=.gcloudignore"),
        cwd=checkout,
    )
    uploaded = sorted(listed.split("\0")[:-1])
    assert_complete_and_without_secrets(uploaded)
    assert uploaded == wanted(checkout)


@pytest.mark.skipif(not shutil.which("gcloud"), reason="needs the Google Cloud CLI (gcloud)")
def test_the_upload_as_gcloud_lists_it(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    # Its settings elsewhere: they would be among the files.
    env = {**os.environ, "CLOUDSDK_CONFIG": str(tmp_path_factory.mktemp("gcloud"))}
    uploaded = sorted(run("gcloud", "meta", "list-files-for-upload", ".", cwd=checkout, env=env).splitlines())
    assert_complete_and_without_secrets(uploaded)
    assert uploaded == wanted(checkout)


@pytest.mark.parametrize("device", DEVICES)
def test_the_build_names_its_list(device: str, tmp_path: Path) -> None:
    # gcloud's property gcloudignore/enabled may be off, and would upload everything.
    lines = printed(BUILD, [device], ENVIRON, tmp_path)
    assert "--ignore-file=.gcloudignore" in next(line for line in lines if "submit" in line).split()
