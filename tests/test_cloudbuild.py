"""cloudbuild.yaml: files and stages that exist, and substitutions as Cloud Build takes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BUILD: dict[str, Any] = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
# `gcloud builds submit` has no default for these.
GIVEN = {"_IMAGE", "_TAG"}


def used(value: object) -> set[str]:
    return set(re.findall(r"\$\{(\w+)\}", str(value)))


def build_flags(**substitutions: str) -> dict[str, list[str]]:
    """Return the flags of `docker build` by name, after substitution."""
    (step,) = BUILD["steps"]
    values = {**BUILD["substitutions"], **substitutions}
    flags: dict[str, list[str]] = {}
    for text in step["args"][1:-1]:
        name, _, value = re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], text).partition("=")
        flags.setdefault(name, []).append(value)
    assert (step["args"][0], step["args"][-1]) == ("build", ".")
    return flags


def test_every_substitution_is_used_and_known() -> None:
    # Cloud Build refuses a build otherwise: "key in the substitution data is not matched in the template".
    assert used((BUILD["steps"], BUILD["images"])) == set(BUILD["substitutions"]) | GIVEN
    assert "$" not in re.sub(r"\$\{_[A-Z0-9_]+\}", "", str(BUILD))


@pytest.mark.parametrize("target", ["worker", "serving"])
@pytest.mark.parametrize("dockerfile", ["Dockerfile.cpu", "Dockerfile.gpu"])
def test_files_stages_and_build_arguments_exist(dockerfile: str, target: str) -> None:
    flags = build_flags(_IMAGE="image", _TAG="1", _DOCKERFILE=dockerfile, _TARGET=target)
    (file,) = flags["--file"]
    text = (ROOT / file).read_text()
    assert f" AS {flags['--target'][0]}\n" in text
    for argument in flags["--build-arg"]:
        assert f"ARG {argument.partition('=')[0]}=" in text


def test_the_default_is_the_job_of_the_example() -> None:
    flags = build_flags(_IMAGE="image", _TAG="1")
    (model,) = [text for text in flags["--build-arg"] if text.startswith("MODEL=")]
    assert f"ARG {model}\n" in (ROOT / flags["--file"][0]).read_text()
    assert flags["--target"] == ["worker"]
    last = re.findall(r"^FROM .* AS (\w+)$", (ROOT / flags["--file"][0]).read_text(), re.MULTILINE)[-1]
    assert last == "worker"


def test_what_is_built_is_pushed() -> None:
    assert build_flags(_IMAGE="registry/name", _TAG="7")["--tag"] == ["registry/name:7"]
    assert BUILD["images"] == ["${_IMAGE}:${_TAG}"]
