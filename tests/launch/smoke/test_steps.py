"""`./launch.sh smoke`: its steps in order, and what it refuses before the first.

gcloud and the load driver are stand-ins that note how they are called.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from launch.cloud.shell import Shell
from launch.commands import smoke
from launch.commands.table import SMOKE, parse
from launch.settings.setting import SettingsError
from loadtest.options import RunOptions
from tests.launch import cloud as loopback
from tests.launch.smoke.conftest import CREATED, DELETED, JOB, LOCATION_AND_IMAGE, Cloud


def test_all_steps_in_order(cloud: Cloud) -> None:
    assert cloud.run().endswith("100 of 100 results; what was made for it is deleted\n")
    assert cloud.steps() == [
        "auth",
        *CREATED,
        "flex-template run",
        "jobs describe",
        "jobs describe",
        "driver",
        "jobs drain",
        "jobs describe",
        "jobs describe",
        *DELETED,
    ]
    calls = cloud.calls()
    launch = next(call for call in calls if call[1] == "flex-template")
    name = launch[3]
    assert "--max-workers=1" in launch
    (parameters,) = [word for word in launch if word.startswith("--parameters=")]
    for given in (
        f"input_subscription=projects/shop-project/subscriptions/{name}-requests",
        f"output_topic=projects/shop-project/topics/{name}-results",
        f"dead_letter_topic=projects/shop-project/topics/{name}-dead-letters",
        "model_path=/models/model.pt2",
    ):
        assert given in parameters
    driver = next(call for call in calls if call[0] == "driver")
    assert {
        f"--input_topic={name}-requests",
        f"--output_subscription={name}-results",
        f"--dead_letter_subscription={name}-dead-letters",
        "--rate=10",
        "--duration=10",
    } <= set(driver)
    assert all(call[3] == JOB for call in calls if call[1] == "jobs")


def test_a_pointer_takes_the_place_of_the_examples_model(cloud: Cloud) -> None:
    cloud.run("--", "--model_pointer=gs://shop-bucket/models/current")
    launch = next(call for call in cloud.calls() if call[1] == "flex-template")
    (parameters,) = [word for word in launch if word.startswith("--parameters=")]
    assert "model_pointer=gs://shop-bucket/models/current" in parameters
    assert "model_path" not in parameters


def test_the_driver_knows_its_flags(cloud: Cloud) -> None:
    cloud.run()
    driver = next(call for call in cloud.calls() if call[0] == "driver")
    given = {word[2:].partition("=")[0] for word in driver if word.startswith("--")}
    assert given <= set(RunOptions.__dataclass_fields__)
    assert Path(next(word for word in driver if word.startswith("--input="))[8:]).is_file()


def test_a_dry_run_prints_all_and_runs_nothing(cloud: Cloud) -> None:
    printed = cloud.run("--dry-run")
    assert "100 of 100" not in printed
    lines = [line for line in printed.splitlines() if not line.startswith("# ")]
    assert cloud.calls() == []
    programs = [shlex.split(line)[0] for line in lines]
    assert programs == ["gcloud"] * 9 + [sys.executable] + ["gcloud"] * 8
    assert sum(" create " in line for line in lines) == sum(" delete " in line for line in lines) == 6
    assert sum(" JOB_ID " in line for line in lines) == 3


def test_a_driver_that_was_late_does_not_matter(cloud: Cloud) -> None:
    cloud.complain("the driver missed its schedule")
    assert cloud.run().endswith("100 of 100 results; what was made for it is deleted\n")


def test_a_local_broker_is_refused(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(smoke.EMULATOR, "127.0.0.1:8085")
    with pytest.raises(SettingsError, match="^PUBSUB_EMULATOR_HOST: 127.0.0.1:8085 .* unset it"):
        cloud.run()
    assert cloud.calls() == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--", "--output_topic=projects/shop-project/topics/x"), "--output_topic: smoke makes its own"),
        (("--min-workers=3", "--max-workers=2"), "--min-workers"),
        (("--", "--microbatch_wait=x"), "microbatch_wait"),
    ],
)
def test_settings_are_checked_before_anything_is_made(
    cloud: Cloud, flags: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        cloud.run(*flags)
    assert cloud.calls() == []


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcloud"), reason="needs the Google Cloud CLI (gcloud)")
def test_the_real_gcloud_makes_and_deletes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = f"projects/{loopback.PROJECT}"
    flags = [f"--project={loopback.PROJECT}", *LOCATION_AND_IMAGE]
    settings = parse(SMOKE, flags, {}, Path("no-launch.env"))
    shell = Shell(dry_run=False)
    undo: list[list[str]] = []
    with loopback.Cloud() as server:
        for name, value in server.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        smoke._create_channel(settings, shell, "smoke-1-results", undo)
        assert smoke._undo_all(shell, undo) == []
    assert [(request.method, request.path) for request in server.requests] == [
        ("PUT", f"/v1/{project}/topics/smoke-1-results"),
        ("PUT", f"/v1/{project}/subscriptions/smoke-1-results"),
        ("DELETE", f"/v1/{project}/subscriptions/smoke-1-results"),
        ("DELETE", f"/v1/{project}/topics/smoke-1-results"),
    ]
    assert server.requests[1].body["topic"] == f"{project}/topics/smoke-1-results"
