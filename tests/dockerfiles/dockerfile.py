"""The Dockerfiles, read: their stages and steps, and the packages that their images install."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DEVICES = ("cpu", "gpu")
STAGES = ("serving", "worker")
_INSTALL = "pip install --no-compile --constraint"
# Build arguments that FROM uses stand before the first stage.
BEFORE_STAGES = ""


@dataclass(frozen=True)
class Stage:
    """One FROM and what follows it: pairs of instruction and argument, with lines joined."""

    base: str
    name: str
    steps: list[tuple[str, str]]

    def arguments(self, instruction: str) -> list[str]:
        return [argument for word, argument in self.steps if word == instruction]


def dockerfile(device: str) -> str:
    return (ROOT / f"Dockerfile.{device}").read_text()


def stages(device: str) -> dict[str, Stage]:
    """By name, in their order; what stands before the first is under the empty name."""
    lines = [line for line in dockerfile(device).splitlines() if not line.lstrip().startswith("#")]
    current = Stage("", BEFORE_STAGES, [])
    found = {current.name: current}
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        instruction, _, argument = " ".join(line.split()).partition(" ")
        if instruction == "FROM":
            base, _, name = argument.partition(" AS ")
            current = found[name] = Stage(base, name, [])
        else:
            current.steps.append((instruction, argument))
    return found


def with_bases(device: str, name: str) -> list[Stage]:
    """Return a stage and those it is built on, the lowest first."""
    every = stages(device)
    chain = [every[name]]
    while chain[0].base in every:
        chain.insert(0, every[chain[0].base])
    return chain


def steps(device: str, name: str, instruction: str) -> list[str]:
    """Return the arguments of one instruction in all of an image."""
    return [argument for stage in with_bases(device, name) for argument in stage.arguments(instruction)]


def arguments_of_build(device: str) -> dict[str, str]:
    """Names and defaults of the build arguments of all stages."""
    lines = [text for stage in stages(device).values() for text in stage.arguments("ARG")]
    return dict(line.split("=", 1) for line in lines)


def resolved(device: str, text: str) -> str:
    for name, default in arguments_of_build(device).items():
        text = text.replace(f"${{{name}}}", default.strip('"'))
    return text


def copies(device: str, name: str) -> list[tuple[str, str]]:
    """Return what an image copies from the checkout, and where to: from its working folder, or from /."""
    words = [resolved(device, text).split() for text in steps(device, name, "COPY")]
    pairs = [(source, each[-1]) for each in words if not each[0].startswith("--from") for source in each[:-1]]
    return [
        # A folder's content goes into the destination, a file keeps its name in it.
        (source, to if source.endswith("/") else f"{to.rstrip('/')}/{source.rpartition('/')[2]}")
        for source, to in pairs
    ]


def sources(device: str, name: str) -> list[str]:
    """Return what an image copies from the checkout."""
    return [source for source, _ in copies(device, name)]


def images(device: str) -> list[str]:
    """Return the names of all images that a Dockerfile takes something from."""
    every = stages(device)
    bases = [resolved(device, stage.base) for stage in every.values() if stage.name]
    copied = re.findall(r"--from=(\S+)", dockerfile(device))
    return [name for name in bases + copied if name not in every]


def install(device: str, name: str) -> str:
    """Return the command by which an image installs packages from an index."""
    (command,) = [text for text in steps(device, name, "RUN") if text.startswith(_INSTALL)]
    return command


def installed(device: str, name: str) -> list[str]:
    """Return the packages that an image asks pip for."""
    words = shlex.split(install(device, name).partition("&&")[0])[3:]
    assert words[:2] == ["--constraint", f"requirements-{device}.txt"]
    return words[2:]


def environment(device: str, name: str) -> dict[str, str]:
    pairs = [shlex.split(text) for text in steps(device, name, "ENV")]
    return dict(pair.split("=", 1) for words in pairs for pair in words)


def lock(device: str) -> dict[str, str]:
    lines = (ROOT / f"requirements-{device}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def required_by_setup() -> dict[str, Requirement]:
    (keyword,) = [
        node
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.keyword) and node.arg == "install_requires"
    ]
    found = [Requirement(text) for text in ast.literal_eval(keyword.value)]
    return {requirement.name: requirement for requirement in found}


def closure(names: list[str]) -> dict[str, importlib.metadata.Distribution]:
    """Return packages of this environment and all that they require, by normal name."""
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
