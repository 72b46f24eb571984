"""The Dockerfiles, read rather than built: there is no container engine where the tests run.

What the serving image would hold is tried all the same, as a folder of links to just that.
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DEVICES = ("cpu", "gpu")


@dataclass(frozen=True)
class Stage:
    """One FROM and what follows it: pairs of instruction and argument, with lines joined."""

    base: str
    name: str
    steps: list[tuple[str, str]]

    def arguments(self, instruction: str) -> list[str]:
        return [argument for word, argument in self.steps if word == instruction]


def stages(device: str) -> dict[str, Stage]:
    text = (ROOT / f"Dockerfile.{device}").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found: dict[str, Stage] = {}
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        instruction, _, argument = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = argument.partition(" AS ")
            current = found[name] = Stage(base, name, [])
        else:
            current.steps.append((instruction, argument.strip()))
    return found


def with_bases(device: str, name: str) -> list[Stage]:
    """A stage and those it is built on, the lowest first."""
    every = stages(device)
    chain = [every[name]]
    while chain[0].base in every:
        chain.insert(0, every[chain[0].base])
    return chain


def steps(device: str, instruction: str) -> list[str]:
    """The arguments of one instruction in all of the serving image."""
    return [argument for stage in with_bases(device, "serving") for argument in stage.arguments(instruction)]


def installed(device: str) -> list[str]:
    """The packages that the serving image asks pip for."""
    (command,) = [text for text in steps(device, "RUN") if text.startswith("pip install")]
    words = shlex.split(command.partition("&&")[0])[2:]
    assert words[:2] == ["--constraint", f"requirements-{device}.txt"]
    return words[2:]


def lock(device: str) -> dict[str, str]:
    lines = (ROOT / f"requirements-{device}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def closure(names: list[str]) -> dict[str, importlib.metadata.Distribution]:
    """Packages of this environment and all that they require, by normal name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    left = [Requirement(name) for name in names]
    while left:
        wanted = left.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found[name] = importlib.metadata.distribution(wanted.name)
        for text in found[name].requires or []:
            required = Requirement(text)
            if required.marker is None or any(
                required.marker.evaluate({"extra": extra}) for extra in extras | {""}
            ):
                left.append(required)
    return found


@pytest.mark.parametrize("device", DEVICES)
def test_the_image_is_a_pinned_python_of_the_locks_version(device: str) -> None:
    (first, *_) = with_bases(device, "serving")
    match = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-[a-z]+", first.base)
    assert match, first.base
    made_by = (ROOT / f"requirements-{device}.txt").read_text().splitlines()[0]
    assert f"--python-version {match.group(1)} " in made_by
    assert f'python_requires=">={match.group(1)}"' in (ROOT / "setup.py").read_text()
    assert ":latest" not in (ROOT / f"Dockerfile.{device}").read_text()


@pytest.mark.parametrize("device", DEVICES)
def test_serving_does_not_run_as_root(device: str) -> None:
    *_, stage = with_bases(device, "serving")
    assert stage.steps[-1][0] == "ENTRYPOINT"
    (user,) = stage.arguments("USER")
    assert user.isdecimal()
    assert int(user) > 0
    after = [word for word, _ in stage.steps[stage.steps.index(("USER", user)) :]]
    assert set(after) == {"USER", "EXPOSE", "ENTRYPOINT"}


@pytest.mark.parametrize("device", DEVICES)
def test_serving_starts_the_server_as_the_first_process(device: str) -> None:
    # By the exec form: a shell would keep SIGTERM for itself, and nothing would be drained.
    assert [json.loads(text) for text in steps(device, "ENTRYPOINT")] == [["python", "-m", "serving"]]
    assert steps(device, "CMD") == []
    assert steps(device, "EXPOSE") == ["8080"]
    assert any("PYTHONUNBUFFERED=1" in text for text in steps(device, "ENV"))


@pytest.mark.parametrize("device", DEVICES)
def test_all_that_is_copied_is_there_and_not_ignored(device: str) -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for argument in steps(device, "COPY"):
        source, _ = argument.split()
        path = ROOT / source
        assert path.is_dir() if source.endswith("/") else path.is_file(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in kept), source


@pytest.mark.parametrize("device", DEVICES)
def test_every_package_is_pinned(device: str) -> None:
    assert installed(device)
    pinned = lock(device)
    for name, distribution in closure(installed(device)).items():
        assert pinned.get(name) == distribution.version.partition("+")[0], name
    (command,) = [text for text in steps(device, "RUN") if text.startswith("pip install")]
    assert command.endswith("&& pip check")


@pytest.mark.parametrize("device", DEVICES)
def test_no_index_is_written_down(device: str) -> None:
    assert steps(device, "ARG") == ['PIP_EXTRA_INDEX_URL=""']
    assert "://" not in (ROOT / f"Dockerfile.{device}").read_text()


def test_both_images_are_built_alike() -> None:
    cpu, gpu = (
        [(stage.name, stage.base, stage.steps) for stage in with_bases(device, "serving")]
        for device in DEVICES
    )
    assert json.loads(json.dumps(cpu).replace("requirements-cpu", "requirements-gpu")) == json.loads(
        json.dumps(gpu)
    )


_IN_THE_IMAGE = """
import pkgutil, sys
from pathlib import Path
import google.cloud.storage, numpy
import serving
for module in pkgutil.walk_packages(serving.__path__, "serving."):
    __import__(module.name)
from pipeline.inference.model import load
from pipeline.input_spec import InputSpec
from serving.predictor import Predictor
spec = InputSpec.parse("30")
predictor = Predictor(load(sys.argv[1], spec, max_batch_size=2), spec, 2)
print(predictor.answer("application/x-float32", bytes(240))[1])
"""


def test_the_packages_and_files_of_the_image_are_enough(tmp_path: Path) -> None:
    for distribution in closure(installed("cpu")).values():
        for file in distribution.files or []:
            # A package that only one distribution has, as a whole: torch alone has 15,000 files.
            shared = file.parts[0] in ("google", "opentelemetry")
            entry = file if shared or len(file.parts) == 1 else Path(file.parts[0])
            link = tmp_path / entry
            source = Path(str(distribution.locate_file(entry)))
            if ".." in file.parts or link.exists() or not source.exists():
                continue
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source)
    for argument in steps("cpu", "COPY"):
        source, _ = argument.split()
        (tmp_path / source.rstrip("/")).symlink_to(ROOT / source)
    model = ROOT / "examples" / "breast_cancer" / "model.pt2"
    # -S: nothing of this environment is found but what the folder links to.
    run = subprocess.run(
        [sys.executable, "-S", "-c", _IN_THE_IMAGE, str(model)], cwd=tmp_path, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, "application/x-float32; shape=2\n"), run.stderr
