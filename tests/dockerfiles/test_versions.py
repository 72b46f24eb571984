"""The Dockerfiles, read rather than built: one version of everything, and every package pinned."""

from __future__ import annotations

import re
import subprocess

import pytest
from packaging.requirements import Requirement

from tests.dockerfiles.dockerfile import (
    DEVICES,
    ROOT,
    STAGES,
    arguments_of_build,
    closure,
    dockerfile,
    images,
    installed,
    lock,
    required_by_setup,
    stages,
    steps,
)


@pytest.mark.parametrize("device", DEVICES)
def test_one_version_of_python_everywhere(device: str) -> None:
    base = stages(device)["base"].base
    match = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base)
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
        (sdk,) = re.findall(r"apache/beam_python[\d.]+_sdk:([^\s@]+)", dockerfile(device))
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
def test_the_worker_installs_what_setup_requires(device: str) -> None:
    asked = {(r := Requirement(text)).name: r.extras for text in installed(device, "worker")}
    assert asked == {name: requirement.extras for name, requirement in required_by_setup().items()}


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
    assert set(arguments_of_build(device)) == {
        *("COMPILE", "LAUNCHER", "PIP_EXTRA_INDEX_URL", "MODEL", "TORCH_BACKEND")
    }
    assert "://" not in dockerfile(device)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", 0),
        ("https://index.example/simple", 0),
        ("https://user:password@index.example/simple", 1),
        ("https://token@index.example/simple https://index.example/simple", 1),
    ],
)
def test_an_index_with_a_password_is_refused(device: str, name: str, url: str, code: int) -> None:
    commands = steps(device, name, "RUN")
    (check,) = [text for text in commands if "asks for none" in text]
    assert commands[0] == check  # before anything is installed
    ended = subprocess.run(
        ["/bin/sh", "-c", check], env={"PIP_EXTRA_INDEX_URL": url}, capture_output=True, text=True
    )
    assert ended.returncode == code
    assert ("asks for none" in ended.stderr, "password@" in ended.stderr) == (bool(code), False)


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_not_pinned_by_digest_is_told(device: str) -> None:
    told = (ROOT / "SECURITY.md").read_text()
    for image in images(device):
        assert ("@sha256:" in image) != (f"`{image}`" in told), image
