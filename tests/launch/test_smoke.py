"""`./launch.sh smoke`: its steps in order, and that nothing of it stays, whatever fails.

gcloud and the load driver are stand-ins that note how they are called.
"""

from __future__ import annotations

import io
import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from launch.cloud.shell import CommandError, Shell
from launch.commands import smoke
from launch.commands.table import SMOKE, parse
from launch.settings.setting import SettingsError
from loadtest.options import RunOptions
from tests.launch import cloud as loopback

LOCATION_AND_IMAGE = (
    "--region=us-central1",
    "--bucket=gs://shop-bucket",
    "--image=us-central1-docker.pkg.dev/shop-project/images/worker",
    "--tag=1",
)
FLAGS = ("--project=shop-project", *LOCATION_AND_IMAGE)
JOB = "2026-01-02_03_04_05-6789"
# Notes the call, fails where `refused` holds one of its words; `describe` takes the next of `states`.
GCLOUD = """#!{python}
import json, pathlib, sys
here = pathlib.Path({folder!r})
with (here / "calls").open("a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
if set((here / "refused").read_text().split()) & set(sys.argv):
    sys.exit("ERROR: (gcloud.x) PERMISSION_DENIED: no")
if "describe" in sys.argv:
    state, *rest = (here / "states").read_text().split()
    (here / "states").write_text(" ".join(rest or [state]))
    print(json.dumps({{"currentState": "JOB_STATE_" + state}}))
if "flex-template" in sys.argv:
    print({job!r})
"""
DRIVER = """
import json, pathlib, sys
here = pathlib.Path({folder!r})
with (here / "calls").open("a") as calls:
    print(json.dumps(["driver", *sys.argv[1:]]), file=calls)
out = pathlib.Path(next(word for word in sys.argv if word.startswith("--out="))[6:])
out.mkdir(parents=True)
(out / "summary.json").write_text((here / "summary").read_text())
sys.exit((here / "complaint").read_text() or 0)
"""
CREATED = [
    f"{kind} create -{channel}"
    for channel in ("requests", "results", "dead-letters")
    for kind in ("topics", "subscriptions")
]
DELETED = [call.replace("create", "delete") for call in reversed(CREATED)]


class Cloud:
    """The stand-ins' folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        values = {"folder": str(folder), "python": sys.executable, "job": JOB}
        (folder / "gcloud").write_text(GCLOUD.format(**values))
        (folder / "gcloud").chmod(0o755)
        (folder / "driver.py").write_text(DRIVER.format(**values))
        (folder / "calls").touch()
        self.refuse("")
        self.complain("")
        self.states("QUEUED RUNNING DRAINING DRAINED")
        self.answers(100, 0)

    def refuse(self, words: str) -> None:
        (self.folder / "refused").write_text(words)

    def complain(self, words: str) -> None:
        """Have the driver fail, after it has written its figures."""
        (self.folder / "complaint").write_text(words)

    def states(self, states: str) -> None:
        (self.folder / "states").write_text(states)

    def answers(self, results: int, dead_letters: int) -> None:
        found = {"sent": 100, "received": results, "dead_lettered": dead_letters}
        (self.folder / "summary").write_text(json.dumps(found))

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def steps(self) -> list[str]:
        """Return each call in short; a name without what is different each time."""
        short = []
        for call in self.calls():
            kind, verb, name = [*call[1:], "", ""][:3]
            if call[0] == "pubsub":
                # smoke-1a2b3c4d-requests
                short.append(f"{kind} {verb} {name[len('smoke-1a2b3c4d') :]}")
            else:
                short.append(call[0] if call[0] in ("auth", "driver") else f"{kind} {verb}")
        return short

    def run(self, *flags: str) -> str:
        out = io.StringIO()
        settings = parse(SMOKE, [*FLAGS, *flags], {}, Path("no-launch.env"))
        shell = Shell(dry_run=settings.dry_run, out=out)
        driver = (sys.executable, str(self.folder / "driver.py"))
        smoke.run(settings, shell, driver=driver, runs=self.folder / "runs", poll_s=0.0)
        return out.getvalue()


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv(smoke.EMULATOR, raising=False)
    return Cloud(tmp_path)


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


@pytest.mark.parametrize(
    ("refused", "done", "said"),
    [
        ("auth", ["auth"], "gcloud auth application-default print-access-token: PERMISSION_DENIED"),
        (
            "subscriptions",
            ["auth", CREATED[0], CREATED[1], DELETED[-1]],
            "gcloud pubsub subscriptions create",
        ),
        ("run", ["auth", *CREATED, "flex-template run", *DELETED], "gcloud dataflow flex-template run"),
    ],
)
def test_what_was_made_goes_where_a_step_is_refused(
    cloud: Cloud, refused: str, done: list[str], said: str
) -> None:
    cloud.refuse(refused)
    with pytest.raises(CommandError, match=f"^{said}"):
        cloud.run()
    assert cloud.steps() == done


LAUNCHED = ["auth", *CREATED, "flex-template run", "jobs describe"]


@pytest.mark.parametrize(
    ("states", "steps", "said"),
    [
        ("FAILED", LAUNCHED, f"^the job {JOB} became JOB_STATE_FAILED, not JOB_STATE_RUNNING"),
        (
            "RUNNING CANCELLED",
            [*LAUNCHED, "driver", "jobs drain", "jobs describe"],
            "became JOB_STATE_CANCELLED, not JOB_STATE_DRAINED",
        ),
    ],
)
def test_a_job_that_has_ended_is_not_cancelled(
    cloud: Cloud, states: str, steps: list[str], said: str
) -> None:
    cloud.states(states)
    with pytest.raises(CommandError, match=said):
        cloud.run()
    assert cloud.steps() == [*steps, *DELETED]


def test_the_job_is_cancelled_where_results_are_missing(cloud: Cloud) -> None:
    cloud.states("RUNNING")
    cloud.answers(99, 1)
    cloud.complain("lost 1 of 100 requests")
    with pytest.raises(CommandError, match="^99 results for 100 of 100 records, and 1 dead letters: see "):
        cloud.run()
    assert cloud.steps() == [*LAUNCHED, "driver", "jobs cancel", *DELETED]


def test_a_driver_that_was_late_does_not_matter(cloud: Cloud) -> None:
    cloud.complain("the driver missed its schedule")
    assert cloud.run().endswith("100 of 100 results; what was made for it is deleted\n")


def test_a_local_broker_is_refused(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(smoke.EMULATOR, "127.0.0.1:8085")
    with pytest.raises(SettingsError, match="^PUBSUB_EMULATOR_HOST: 127.0.0.1:8085 .* unset it"):
        cloud.run()
    assert cloud.calls() == []


def test_waiting_ends(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "STATE_WAIT_S", -1.0)
    cloud.states("PENDING")
    with pytest.raises(CommandError, match=f"^the job {JOB} is JOB_STATE_PENDING after"):
        cloud.run()
    assert cloud.steps() == [*LAUNCHED, "jobs cancel", *DELETED]


def test_an_interrupt_leaves_nothing(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(smoke, "_send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cloud.run()
    assert cloud.steps() == [*LAUNCHED, "jobs describe", "jobs cancel", *DELETED]


def test_what_cannot_be_deleted_is_told_and_the_rest_goes(cloud: Cloud) -> None:
    cloud.refuse("delete")
    with pytest.raises(
        CommandError, match="^100 of 100 results, but this stays: smoke-.*-dead-letters"
    ) as caught:
        cloud.run()
    assert str(caught.value).count("PERMISSION_DENIED") == 6
    assert cloud.steps()[-6:] == DELETED


def test_a_driver_that_fails_is_told(cloud: Cloud) -> None:
    (cloud.folder / "driver.py").write_text("import sys\nsys.exit('no answer to the probe')\n")
    with pytest.raises(CommandError, match="^sending the records failed: .*no answer to the probe"):
        cloud.run()
    assert cloud.steps()[-7:] == ["jobs cancel", *DELETED]


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
