"""The Dockerfiles, read rather than built: their stages, and what the worker and the server start with.

tests/images builds them, where buildah can be had.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from pipeline.process.image import HAS_COMPILER
from tests.dockerfiles.dockerfile import (
    BEFORE_STAGES,
    DEVICES,
    arguments_of_build,
    environment,
    lock,
    sources,
    stages,
    steps,
    with_bases,
)


@pytest.mark.parametrize("device", DEVICES)
def test_no_driver_and_no_venv(device: str) -> None:
    commands = [text for stage in stages(device).values() for text in stage.arguments("RUN")]
    assert commands
    for command in commands:
        assert not re.search(r"driver|nvidia|libcuda|venv|conda", command), command
    assert not [name for name in lock(device) if "driver" in name]


@pytest.mark.parametrize("device", DEVICES)
def test_the_worker_has_a_compiler_where_asked_for_and_nothing_else_of_debian(
    device: str, tmp_path: Path
) -> None:
    by_apt = {
        stage.name: [text for text in stage.arguments("RUN") if "apt" in text]
        for stage in stages(device).values()
    }
    (command,) = by_apt.pop("worker")
    assert not any(by_apt.values())
    # Before what changes more often.
    assert stages(device)["worker"].arguments("RUN")[0] == command
    for name in ("apt-get", "rm"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >>"{tmp_path}/called"\n')
        program.chmod(0o755)
    for compile, called in (
        ("false", []),
        (
            "true",
            [
                "apt-get update",
                "apt-get install --yes --no-install-recommends g++",
                # In the same layer, or the lists would stay in the image.
                "rm -rf /var/lib/apt/lists/",
            ],
        ),
    ):
        (tmp_path / "called").write_text("")
        environment = {"COMPILE": compile, "PATH": str(tmp_path)}
        subprocess.run(["/bin/sh", "-c", command], env=environment, check=True)
        found = (tmp_path / "called").read_text().splitlines()
        assert len(found) == len(called)
        for line, expected in zip(found, called, strict=True):
            assert line.startswith(expected)


@pytest.mark.parametrize("device", DEVICES)
def test_the_image_says_whether_it_has_a_compiler(device: str) -> None:
    assert environment(device, "worker")[HAS_COMPILER] == "${COMPILE}"
    assert arguments_of_build(device)["COMPILE"] == "false"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("value", "code"), [("true", 0), ("false", 0), ("yes", 1), ("", 1)])
def test_no_other_value_of_the_compiler(device: str, value: str, code: int) -> None:
    (check,) = [text for text in stages(device)["torch"].arguments("RUN") if "true or false" in text]
    ended = subprocess.run(["/bin/sh", "-c", check], env={"COMPILE": value}, capture_output=True, text=True)
    assert (ended.returncode, "true or false" in ended.stderr) == (code, bool(code))


@pytest.mark.parametrize("device", DEVICES)
def test_order_of_the_stages(device: str) -> None:
    # The last is what `docker build` makes without --target.
    assert list(stages(device)) == [BEFORE_STAGES, "launcher", "base", "torch", "serving", "wheel", "worker"]
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


def test_both_images_are_built_alike_but_for_the_driver() -> None:
    cpu, gpu = (
        [(stage.name, stage.base, stage.steps) for stage in stages(device).values()] for device in DEVICES
    )
    driver = ("ENV", "LD_LIBRARY_PATH=/usr/local/nvidia/lib64 PATH=/usr/local/nvidia/bin:${PATH}")
    for name, _, found in gpu:
        if name == "base":
            found.remove(driver)
    alike = json.dumps(cpu).replace("requirements-cpu", "requirements-gpu")
    # And but for the build of torch.
    alike = alike.replace("{TORCH_BACKEND:-cpu}", "{TORCH_BACKEND:-pypi}")
    assert json.loads(alike) == json.loads(json.dumps(gpu))
