"""The Dockerfiles, read rather than built: their stages, and what the worker and the server start with.

There is no container engine where the tests run.
"""

from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.dockerfiles.dockerfile import (
    BEFORE_STAGES,
    DEVICES,
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
