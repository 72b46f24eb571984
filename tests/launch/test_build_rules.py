"""What a build is given, and what is refused of it before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.commands.build import build_arguments
from launch.commands.table import BUILD
from launch.rules import build as rules
from launch.rules.rule import problems
from tests.launch.conftest import Make

SERVING = "--serving-image=us-docker.pkg.dev/shop-project/inference/serving"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a checkout with a model, in which the user stands in another folder."""
    for name in ("models/sub/mine.pt2", "elsewhere/mine.pt2", "examples/breast_cancer/model.pt2"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "models/link.pt2").symlink_to(tmp_path / "elsewhere/mine.pt2")
    monkeypatch.setattr(rules, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


@pytest.mark.parametrize(
    ("model", "argument"),
    [
        ("../models/sub/mine.pt2", "models/sub/mine.pt2"),
        ("../examples/breast_cancer/model.pt2", "examples/breast_cancer/model.pt2"),
    ],
)
def test_a_model_of_the_checkout(settings: Make, checkout: Path, model: str, argument: str) -> None:
    for given in (model, str(checkout / argument)):
        build = settings(BUILD, "cpu", f"--model={given}")
        assert problems(BUILD.rules, build) == []
        assert build_arguments(build) == {"MODEL": argument}


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["cpu", "--model=none.pt2"], "--model: none.pt2: there is no such file"),
        (["cpu", "--model=mine.pt2"], "mine.pt2 is not in "),
        (["cpu", "--model=../models/../elsewhere/mine.pt2"], "is not in "),
        (["cpu", "--model=../models/link.pt2"], "is not in "),
        (["cpu", "--serving", f"{SERVING}:1", "--model=mine.pt2"], "the endpoint's container holds none"),
        (["cpu", "--serving"], "--serving-image: missing"),
        (["cpu", "--serving", f"{SERVING}@sha256:{'0' * 64}"], "is a digest"),
        (["gpu", "--gpu-torch=cu126", "--torch-index=https://mirror.example/torch"], "leave out the one or"),
    ],
)
def test_what_is_refused(settings: Make, flags: list[str], said: str) -> None:
    (problem,) = problems(BUILD.rules, settings(BUILD, *flags))
    assert said in problem


def test_what_is_not(settings: Make) -> None:
    for flags in (
        ["cpu"],
        ["cpu", "--serving", f"{SERVING}:1"],
        # Of a launch.env that is written for both images.
        ["cpu", "--gpu-torch=cu126", "--torch-index=https://mirror.example/torch"],
    ):
        assert problems(BUILD.rules, settings(BUILD, *flags)) == []
    assert build_arguments(settings(BUILD, "cpu", "--gpu-torch=cu126")) == {}
    assert build_arguments(settings(BUILD, "gpu", "--gpu-torch=pypi")) == {}


def test_a_compiler_where_asked_for(settings: Make) -> None:
    assert build_arguments(settings(BUILD, "gpu", "--compiler")) == {"COMPILE": "true"}
    # The endpoint's container compiles nothing; launch.env may be written for both images.
    assert build_arguments(settings(BUILD, "cpu", "--compiler", "--serving", f"{SERVING}:1")) == {}
