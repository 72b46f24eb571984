"""The Dockerfiles, read rather than built: there is no container engine where the tests run.

What the images would hold is tried all the same, as a folder of links to just that.
"""

from __future__ import annotations

import ast
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
STAGES = ("serving", "worker")
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


def sources(device: str, name: str) -> list[str]:
    """Return what an image copies from the checkout."""
    copies = [resolved(device, text).split() for text in steps(device, name, "COPY")]
    return [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]


def images(device: str) -> list[str]:
    """Return the names of all images that a Dockerfile takes something from."""
    every = stages(device)
    bases = [resolved(device, stage.base) for stage in every.values() if stage.name]
    copied = re.findall(r"--from=(\S+)", dockerfile(device))
    return [name for name in bases + copied if name not in every]


def install(device: str, name: str) -> str:
    """Return the command by which an image installs packages from an index."""
    (command,) = [text for text in steps(device, name, "RUN") if text.startswith("pip install --constraint")]
    return command


def installed(device: str, name: str) -> list[str]:
    """Return the packages that an image asks pip for."""
    words = shlex.split(install(device, name).partition("&&")[0])[2:]
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


def kept_by_dockerignore(path: str) -> bool:
    """Docker's rule: the last line that matches a path, or a folder above it, decides."""
    parts = path.rstrip("/").split("/")
    above = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    kept = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").rstrip("/").removeprefix("**/")
        tried = parts if "**/" in line else above
        if any(fnmatch.fnmatchcase(name, pattern) for name in tried):
            kept = line.startswith("!")
    return kept


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


@pytest.mark.parametrize("device", DEVICES)
def test_one_version_of_python_everywhere(device: str) -> None:
    match = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-[a-z]+", stages(device)["base"].base)
    assert match
    python = match.group(1)
    made_by = (ROOT / f"requirements-{device}.txt").read_text().splitlines()[0]
    assert f"--python-version {python} " in made_by
    assert f'python_requires=">={python}"' in (ROOT / "setup.py").read_text()
    for image in images(device):
        digits = re.search(r"python(3\.?\d\d)", image)
        assert digits is None or digits.group(1).replace(".", "") == python.replace(".", ""), image
    assert len([image for image in images(device) if "python3" in image]) == 2


def test_one_version_of_beam_everywhere() -> None:
    (specifier,) = required_by_setup()["apache-beam"].specifier
    assert specifier.operator == "=="
    for device in DEVICES:
        (sdk,) = re.findall(r"apache/beam_python[\d.]+_sdk:(\S+)", dockerfile(device))
        assert (sdk, lock(device)["apache-beam"]) == (specifier.version, specifier.version)


def test_one_version_of_torch_everywhere() -> None:
    (specifier,) = required_by_setup()["torch"].specifier
    assert specifier.operator == "=="
    assert [lock(device)["torch"] for device in DEVICES] == [specifier.version] * 2


def test_the_gpu_images_hold_one_cuda_and_it_is_torchs() -> None:
    # NVIDIA's packages name the CUDA they are of. torch's CPU builds, as in this environment, name none.
    suffixes = {match.group(1) for name in lock("gpu") if (match := re.search(r"-cu(\d+)$", name))}
    (major,) = suffixes
    assert lock("gpu")["cuda-toolkit"].startswith(f"{major}.")
    assert lock("gpu")["nvidia-cuda-runtime"].startswith(f"{major}.")
    assert not [name for name in lock("cpu") if name.startswith(("nvidia-", "cuda-"))]
    assert not [image for image in images("gpu") if re.search("cuda|nvidia|pytorch", image)]


@pytest.mark.parametrize("device", DEVICES)
def test_every_image_is_of_a_fixed_version(device: str) -> None:
    assert len(images(device)) == 3
    for image in images(device):
        tag = image.partition("@")[0].rpartition(":")[2]
        assert any(character.isdigit() for character in tag), image
        assert "alpine" not in image
    assert "latest" not in dockerfile(device)


@pytest.mark.parametrize("device", DEVICES)
def test_no_driver_and_no_venv(device: str) -> None:
    commands = [text for stage in stages(device).values() for text in stage.arguments("RUN")]
    assert commands
    for command in commands:
        assert not re.search(r"driver|nvidia|libcuda|venv|conda", command), command
    assert not [name for name in lock(device) if "driver" in name]


@pytest.mark.parametrize("device", DEVICES)
def test_the_worker_has_a_compiler_and_nothing_else_of_debian(device: str) -> None:
    by_apt = {
        stage.name: [text for text in stage.arguments("RUN") if "apt" in text]
        for stage in stages(device).values()
    }
    (command,) = by_apt.pop("worker")
    assert [shlex.split(part) for part in command.split("&&")] == [
        ["apt-get", "update"],
        ["apt-get", "install", "--yes", "--no-install-recommends", "g++"],
        # In the same layer, or the lists would stay in the image.
        ["rm", "-rf", "/var/lib/apt/lists/*"],
    ]
    assert not any(by_apt.values())
    # Before what changes more often.
    assert stages(device)["worker"].arguments("RUN")[0] == command


@pytest.mark.parametrize("device", DEVICES)
def test_order_of_the_stages(device: str) -> None:
    # The last is what `docker build` makes without --target.
    assert list(stages(device)) == [BEFORE_STAGES, "launcher", "base", "serving", "wheel", "worker"]
    assert [word for word, _ in stages(device)[BEFORE_STAGES].steps] == ["ARG"]


@pytest.mark.parametrize("device", DEVICES)
def test_the_worker_starts_beams_boot_as_root(device: str) -> None:
    assert [json.loads(text) for text in steps(device, "worker", "ENTRYPOINT")] == [["/opt/apache/beam/boot"]]
    assert steps(device, "worker", "CMD") == steps(device, "worker", "USER") == []
    assert environment(device, "worker")["RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT"] == "1"
    copies = steps(device, "worker", "COPY")
    for path in ("/opt/apache/beam", "/opt/google/dataflow/python_template_launcher"):
        assert [text for text in copies if text.endswith(f" {path} {path}")], path


@pytest.mark.parametrize("device", DEVICES)
def test_the_launcher_is_told_its_file_and_nothing_to_install(device: str) -> None:
    told = {k: v for k, v in environment(device, "worker").items() if k.startswith("FLEX_TEMPLATE")}
    assert told == {"FLEX_TEMPLATE_PYTHON_PY_FILE": "/app/main.py"}
    assert "docker/main.py ." in steps(device, "worker", "COPY")
    assert steps(device, "worker", "WORKDIR") == ["/app"]


@pytest.mark.parametrize("device", DEVICES)
def test_the_worker_holds_the_wheel_and_not_the_sources(device: str) -> None:
    assert [text for text in stages(device)["wheel"].arguments("RUN") if text.startswith("pip wheel ")]
    assert "pipeline/" not in sources(device, "worker")
    *_, last = steps(device, "worker", "RUN")
    assert last.split("&&")[0].split() == ["pip", "install", "--no-deps", "/wheels/*.whl"]


@pytest.mark.parametrize("device", DEVICES)
def test_the_worker_installs_what_setup_requires(device: str) -> None:
    asked = {(r := Requirement(text)).name: r.extras for text in installed(device, "worker")}
    assert asked == {name: requirement.extras for name, requirement in required_by_setup().items()}


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
    assert [json.loads(text) for text in steps(device, "serving", "ENTRYPOINT")] == [
        ["python", "-m", "serving"]
    ]
    assert steps(device, "serving", "CMD") == []
    assert steps(device, "serving", "EXPOSE") == ["8080"]
    assert environment(device, "serving")["PYTHONUNBUFFERED"] == "1"


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
    assert not kept_by_dockerignore("pipeline/io/__pycache__/x.pyc")


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("device", DEVICES)
def test_every_package_is_pinned(device: str, name: str) -> None:
    assert installed(device, name)
    pinned = lock(device)
    for package, distribution in closure(installed(device, name)).items():
        assert pinned.get(package) == distribution.version.partition("+")[0], package
    *_, last = [text for text in steps(device, name, "RUN") if text.startswith("pip ")]
    assert last.endswith("&& pip check")


@pytest.mark.parametrize("device", DEVICES)
def test_no_index_is_written_down(device: str) -> None:
    for name in STAGES:
        assert 'PIP_EXTRA_INDEX_URL=""' in steps(device, name, "ARG")
    assert set(arguments_of_build(device)) == {"LAUNCHER", "PIP_EXTRA_INDEX_URL", "MODEL"}
    assert "://" not in dockerfile(device)


def test_both_images_are_built_alike_but_for_the_driver() -> None:
    cpu, gpu = (
        [(stage.name, stage.base, stage.steps) for stage in stages(device).values()] for device in DEVICES
    )
    driver = ("ENV", "LD_LIBRARY_PATH=/usr/local/nvidia/lib64 PATH=/usr/local/nvidia/bin:${PATH}")
    for name, _, found in gpu:
        if name == "base":
            found.remove(driver)
    assert json.loads(json.dumps(cpu).replace("requirements-cpu", "requirements-gpu")) == json.loads(
        json.dumps(gpu)
    )


_SERVING = """
import pkgutil, sys
from pathlib import Path
import google.cloud.storage, numpy
import serving
for module in pkgutil.walk_packages(serving.__path__, "serving."):
    __import__(module.name)
from pipeline.model.load import load
from pipeline.request.input_spec import InputSpec
from serving.predictor import Predictor
spec = InputSpec.parse("30")
predictor = Predictor(load(sys.argv[1], spec, max_batch_size=2), spec, 2)
print(predictor.answer("application/x-float32", bytes(240))[1])
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
    for text in sources("cpu", name) + (["pipeline/"] if name == "worker" else []):
        (folder / text.rstrip("/").rpartition("/")[2]).symlink_to(ROOT / text)


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
