"""The pages on Dataflow: launch.sh and gcloud take the commands, flags exist, facts are those of the code."""

from __future__ import annotations

import importlib.util
import math
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from loadtest import options as loadtest
from pipeline.flags import FLAGS
from pipeline.launch import endpoint_rules, machines, rules
from pipeline.launch.settings import COMMANDS, SETTINGS, parse

ROOT = Path(__file__).parents[2]
PAGES = {
    name: (ROOT / f"docs/{name}.md").read_text() for name in ("dataflow", "gpu", "operations", "scaling")
}
ENV = dict(line.split("=", 1) for line in re.findall(r"^LAUNCH_\w+=\S+$", PAGES["dataflow"], re.MULTILINE))
# The Google Cloud CLI's own table of its commands and their flags, beside its program.
GCLOUD = Path(shutil.which("gcloud") or "gcloud").resolve().parents[1] / "data/cli/gcloud_completions.py"
# Of Beam, of Docker and of the container, where the text speaks of them.
OTHERS = {"--experiments", "--build-arg", "--workers", "--help"}


def commands(page: str) -> list[list[str]]:
    """The commands of a page's blocks, as words, with continued lines joined."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)
    lines = "".join(text for language, text in blocks if not language).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line]


def of_program(program: str) -> list[tuple[str, list[str]]]:
    return [(page, words) for page in PAGES for words in commands(page) if words[0] == program]


def page_and_command(value: Any) -> str:
    return value if isinstance(value, str) else " ".join(value[:4])


@pytest.mark.parametrize(("page", "words"), of_program("./launch.sh"), ids=page_and_command)
def test_launch_takes_it(page: str, words: list[str]) -> None:
    names = {command.name for command in COMMANDS}
    name = next(" ".join(words[1:end]) for end in (3, 2) if " ".join(words[1:end]) in names)
    settings = parse(name, words[1 + len(name.split()) :], ENV, ROOT / "no-launch.env")
    problems = endpoint_rules.problems if name.startswith("endpoint") else rules.problems
    assert problems(settings) == []
    if name in ("run", "replace"):
        flags = {flag.name: flag for flag in FLAGS}
        for flag, text in settings.job_flags.items():
            flags[flag].parse(text)
        assert {flag.name for flag in FLAGS if flag.required} <= set(settings.job_flags)


def test_every_command_is_shown() -> None:
    shown = "\n".join(PAGES.values())
    for command in COMMANDS:
        assert re.search(rf"(?m)(?:^|`)\./launch\.sh {command.name}\b", shown), command.name


@pytest.mark.skipif(not GCLOUD.is_file(), reason="the Google Cloud CLI is not installed here")
def test_gcloud_takes_it() -> None:
    spec = importlib.util.spec_from_file_location("gcloud_completions", GCLOUD)
    assert spec
    assert spec.loader
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    seen = 0
    for page, words in of_program("gcloud"):
        node = tables.STATIC_COMPLETION_CLI_TREE
        flags = dict(node["flags"])
        for word in words[1:]:
            if word.startswith("--"):
                assert word.partition("=")[0] in flags, (page, words)
                seen += 1
            elif word in node.get("commands", {}):
                node = node["commands"][word]
                flags.update(node.get("flags", {}))
        assert not node.get("commands"), (page, words)
    assert seen


def test_the_load_driver_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ((_, words),) = of_program("python")
    assert words[:4] == ["python", "-m", "loadtest", "run"]
    assert loadtest.parse(words[4:])[1] == []


@pytest.mark.parametrize("page", PAGES)
def test_flags_in_the_text_exist(page: str) -> None:
    launch = {f"--{setting.name}" for setting in SETTINGS}
    job = {f"--{flag.name}" for flag in FLAGS}
    text = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)
    codes = re.findall(r"`([^`]+)`", text)
    named = {name for code in codes for name in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)}
    assert named
    assert named - launch - job - OTHERS == set()


def test_roles_are_those_of_google() -> None:
    roles = re.findall(r"`(roles/[\w.]+)`", PAGES["dataflow"])
    assert len(set(roles)) > 10
    assert all(re.fullmatch(r"roles/[a-z]+\.?[a-zA-Z.]+", role) for role in roles)


def test_gpus_and_their_machines() -> None:
    rows = re.findall(r"^\| (`nvidia.*?) \| (\w+) \| .*\| (yes|no).*\|$", PAGES["gpu"], re.MULTILINE)
    found = {name: family for names, family, _ in rows for name in re.findall(r"`(\S+)`", names)}
    assert set(found) == set(machines.GPU_TYPES)
    for name, family in found.items():
        gpu = next(machines.Gpu(name, count) for count in (1, 8) if _exists(name, count))
        assert machines.default_machine(gpu).split("-")[0].upper() == family


def _exists(name: str, count: int) -> bool:
    try:
        machines.parse_gpu(f"{name}:{count}")
    except ValueError:
        return False
    return True


def test_that_no_gpu_is_used_yet_is_said_as_long_as_it_is_true() -> None:
    code = "".join(path.read_text() for path in (ROOT / "pipeline/inference").rglob("*.py"))
    said = "**In this version the job computes on the CPU.**" in PAGES["gpu"]
    assert said == (re.search(r"\bcuda\b", code) is None)


def test_cuda_of_the_lock() -> None:
    lock = (ROOT / "requirements-gpu.txt").read_text()
    torch = re.search(r"^torch==(\S+)$", lock, re.MULTILINE)
    cuda = re.search(r"^cuda-toolkit==(\d+\.\d+)", lock, re.MULTILINE)
    assert torch
    assert cuda
    assert f"{torch[1]} from PyPI is built for CUDA {cuda[1]}" in PAGES["gpu"]


def test_the_formula() -> None:
    shown = re.findall(r"`ceil\((\d+) × (\d+) ÷ (\d+)\) = (\d+)`", PAGES["scaling"])
    assert len(shown) == 2
    for replicas, utilisation, target, result in (map(int, numbers) for numbers in shown):
        assert math.ceil(replicas * utilisation / target) == result


def test_limits() -> None:
    page = PAGES["scaling"]
    low, high = endpoint_rules.SHORTEST_PERIOD_S, endpoint_rules.LONGEST_PERIOD_S
    assert f"Both {low} to {high:,} s" in page
    metrics = re.findall(r"^\| `([a-z-]+)` \| the model|^\| `(request[a-z-]+)` \|", page, re.MULTILINE)
    (setting,) = {s.help for s in SETTINGS if s.name == "scaling-metric"}
    assert len(metrics) == 3
    assert all((one or other) in setting for one, other in metrics)


def test_the_model_in_the_image() -> None:
    for device in ("cpu", "gpu"):
        text = (ROOT / f"Dockerfile.{device}").read_text()
        assert "COPY ${MODEL} /models/\n" in text
        assert "ARG MODEL=examples/breast_cancer/model.pt2\n" in text
    assert "--model-path=/models/model.pt2" in PAGES["dataflow"]


@pytest.mark.parametrize("page", PAGES)
def test_links_to_pages_and_sections(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        if target.startswith("https://"):
            continue
        file, _, section = target.partition("#")
        assert not file or (ROOT / "docs" / file).is_file(), target
        assert not section or f"\n## {section.capitalize()}\n" in PAGES[page], target
