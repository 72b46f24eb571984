"""run, replace, update, status, drain, cancel with the real gcloud, against a server on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.__main__ import main
from tests.launch.cloud import JOB, JOB_ID, PROJECT, REGION, Cloud
from tests.launch.test_dry_run import JOB_FLAGS, KEY
from tests.waiting import LIMIT_S

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("gcloud"), reason="needs the Google Cloud CLI (gcloud)"),
]

JOBS = f"/v1b3/projects/{PROJECT}/locations/{REGION}/jobs"
LAUNCH = f"/v1b3/projects/{PROJECT}/locations/{REGION}/flexTemplates:launch"
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/inference/worker"
ROOT = Path(__file__).parents[2]
ENVIRON = {
    "LAUNCH_PROJECT": PROJECT,
    "LAUNCH_REGION": REGION,
    "LAUNCH_BUCKET": "gs://shop-bucket",
    "LAUNCH_IMAGE": IMAGE,
    "LAUNCH_TAG": "1",
}


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with Cloud() as running:
        for name, value in running.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING", running.address)
        yield running


def launch(*argv: str) -> int:
    return main(argv, ENVIRON, Path("no-launch.env"))


def test_run(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--model-path=/m.pt2", "--gpu=nvidia-l4:1", "--gpu-sharing=mps", "--min-workers=2")
    more = ("--max-workers=9", "--num-workers=3", "--utilization-hint=0.6", "--harness-threads=4")
    marks = ("--labels=team=fraud,env=prod", f"--kms-key={KEY}", "--launcher-machine-type=n1-standard-2")
    assert (
        launch("run", *flags, *more, *marks, "--public-ips=false", "--", *JOB_FLAGS, "--experiments=a") == 0
    )
    assert capsys.readouterr().out.splitlines()[0] == f"launched streaming-inference: {JOB_ID}"
    (request,) = cloud.sent("POST", LAUNCH)
    sent = request.body["launchParameter"]
    assert sent["jobName"] == "streaming-inference"
    assert sent["containerSpecGcsPath"] == "gs://shop-bucket/templates/worker-1-gpu.json"
    assert sent["parameters"] == {
        "inference_mode": "local",
        "model_path": "/m.pt2",
        "device": "gpu",
        **dict(flag.removeprefix("--").split("=", 1) for flag in JOB_FLAGS),
        "sdk_container_image": f"{IMAGE}:1-gpu",
        "dataflow_service_options": "streaming_mode_at_least_once,min_num_workers=2,"
        "worker_utilization_hint=0.6,"
        "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver;use_nvidia_mps",
        "disk_size_gb": "50",
        "number_of_worker_harness_threads": "4",
    }
    environment = {name: value for name, value in sent["environment"].items() if value}
    assert environment == {
        "numWorkers": 3,
        "maxWorkers": 9,
        "machineType": "g2-standard-4",
        "launcherMachineType": "n1-standard-2",
        "additionalUserLabels": {"team": "fraud", "env": "prod"},
        "kmsKeyName": KEY,
        "enableStreamingEngine": True,
        "additionalExperiments": ["streaming_mode_at_least_once", "use_runner_v2", "a"],
        "ipConfiguration": "WORKER_IP_PRIVATE",
        "stagingLocation": "gs://shop-bucket/staging",
        "tempLocation": "gs://shop-bucket/temp",
    }
    assert not sent.get("update")


def test_replace(cloud: Cloud) -> None:
    flags = ("--mode=endpoint", "--transform-name-mappings=Old=New")
    endpoint = ("--endpoint=123", f"--endpoint_location={REGION}")
    assert launch("replace", "inference", *flags, "--", *JOB_FLAGS, *endpoint) == 0
    (request,) = cloud.sent("POST", LAUNCH)
    sent = request.body["launchParameter"]
    assert sent["jobName"] == "inference"
    assert sent["update"] is True
    assert sent["transformNameMappings"] == {"Old": "New"}
    assert sent["environment"]["enableStreamingEngine"] is True
    assert sent["parameters"]["inference_mode"] == "endpoint"


AT_LEAST_ONCE = "streaming_mode_at_least_once"
EXACTLY_ONCE = "streaming_mode_exactly_once"


@pytest.mark.parametrize(
    ("environment", "flags", "option", "said"),
    [
        ({"streamingMode": AT_LEAST_ONCE.upper()}, (), AT_LEAST_ONCE, "stays at-least-once"),
        ({"streamingMode": EXACTLY_ONCE.upper()}, (), EXACTLY_ONCE, "stays exactly-once"),
        # Where the service does not tell the mode, the job's own options do.
        ({"serviceOptions": ["a", AT_LEAST_ONCE]}, (), AT_LEAST_ONCE, "stays at-least-once"),
        ({"experiments": [AT_LEAST_ONCE]}, (), AT_LEAST_ONCE, "stays at-least-once"),
        ({"streamingMode": "STREAMING_MODE_UNSPECIFIED"}, (), EXACTLY_ONCE, "stays exactly-once"),
        (
            {"streamingMode": EXACTLY_ONCE.upper()},
            ("--delivery=at-least-once",),
            AT_LEAST_ONCE,
            "changes from exactly-once to at-least-once: by Google's documentation a replacement can; "
            "this project has not tried it",
        ),
        (
            {"streamingMode": AT_LEAST_ONCE.upper()},
            ("--delivery=exactly-once",),
            EXACTLY_ONCE,
            "changes from at-least-once to exactly-once",
        ),
        (
            {"streamingMode": EXACTLY_ONCE.upper()},
            ("--delivery=exactly-once",),
            EXACTLY_ONCE,
            "stays exactly-once",
        ),
    ],
)
def test_replace_keeps_the_streaming_mode_unless_told(
    cloud: Cloud,
    capsys: pytest.CaptureFixture[str],
    environment: dict[str, object],
    flags: tuple[str, ...],
    option: str,
    said: str,
) -> None:
    cloud.answer("GET", f"{JOBS}/{JOB_ID}", {**JOB, "environment": environment})
    # What launch.env and the environment say is for new jobs: by the flag alone a running one changes.
    environ = {**ENVIRON, "LAUNCH_DELIVERY": "at-least-once"}
    argv = ("replace", "inference", "--model-path=/m.pt2", *flags, "--", *JOB_FLAGS)
    assert main(argv, environ, Path("no-launch.env")) == 0
    (request,) = cloud.sent("POST", LAUNCH)
    sent = request.body["launchParameter"]
    assert sent["environment"]["additionalExperiments"] == [option]
    assert sent["parameters"].get("dataflow_service_options") == (
        AT_LEAST_ONCE if option == AT_LEAST_ONCE else None
    )
    assert f"the streaming mode {said}" in capsys.readouterr().out


def test_replace_of_a_job_without_a_mode_yet(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.answer("GET", f"{JOBS}/{JOB_ID}", JOB)
    assert launch("replace", "inference", "--model-path=/m.pt2", "--", *JOB_FLAGS) == 1
    assert "no streaming mode" in capsys.readouterr().err
    assert cloud.sent("POST", LAUNCH) == []


def test_rows_of_a_job_that_runs_at_least_once(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    table = "--output_table=shop-project:shop.predictions"
    assert launch("run", "--model-path=/m.pt2", "--", *JOB_FLAGS, table) == 0
    assert "a request can become more than one row" in capsys.readouterr().out
    assert launch("run", "--model-path=/m.pt2", "--delivery=exactly-once", "--", *JOB_FLAGS, table) == 0
    assert "row" not in capsys.readouterr().out


def test_update_finds_the_job_by_its_name(cloud: Cloud) -> None:
    assert launch("update", "inference", "--min-workers=2", "--max-workers=9", "--utilization-hint=0.6") == 0
    (request,) = cloud.sent("PUT", f"{JOBS}/{JOB_ID}")
    wanted = {"minNumWorkers": 2, "maxNumWorkers": 9, "workerUtilizationHint": 0.6}
    assert request.body["runtimeUpdatableParams"] == wanted
    (mask,) = request.query["updateMask"]
    assert set(mask.split(",")) == {
        "runtime_updatable_params.min_num_workers",
        "runtime_updatable_params.max_num_workers",
        "runtime_updatable_params.worker_utilization_hint",
    }


def test_update_leaves_the_streaming_mode(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch("update", "inference", "--min-workers=2") == 0
    assert "its streaming mode stays what it is" in capsys.readouterr().out
    assert launch("update", "inference", "--min-workers=3", "--delivery=exactly-once") == 2
    assert "./launch.sh replace inference --delivery=exactly-once" in capsys.readouterr().err
    assert len(cloud.sent("PUT", f"{JOBS}/{JOB_ID}")) == 1


def test_update_takes_the_hint_away(cloud: Cloud) -> None:
    assert launch("update", JOB_ID, "--utilization-hint=none") == 0
    (request,) = cloud.sent("PUT", f"{JOBS}/{JOB_ID}")
    assert request.query["updateMask"] == ["runtime_updatable_params.worker_utilization_hint"]
    assert not request.body.get("runtimeUpdatableParams", {}).get("workerUtilizationHint")


@pytest.mark.parametrize(
    ("command", "state"), [("drain", "JOB_STATE_DRAINED"), ("cancel", "JOB_STATE_CANCELLED")]
)
def test_end(cloud: Cloud, command: str, state: str) -> None:
    assert launch(command, JOB_ID, *(["--yes"] if command == "cancel" else [])) == 0
    (request,) = cloud.sent("PUT", f"{JOBS}/{JOB_ID}")
    assert request.body["requestedState"] == state


def test_launch_sh_goes_all_the_way(cloud: Cloud, tmp_path: Path) -> None:
    """In a copy of the checkout that takes this environment for its .venv, with everything installed."""
    checkout = tmp_path / "checkout"
    venv = checkout / ".venv"
    venv.mkdir(parents=True)
    for name in ("launch.sh", "requirements-cpu.txt"):
        shutil.copy(ROOT / name, checkout)
    shutil.copy(ROOT / "requirements-cpu.txt", venv / ".installed-cpu")
    for package in ("launch", "pipeline"):
        (checkout / package).symlink_to(ROOT / package)
    for thing in Path(sys.prefix).iterdir():
        if not thing.name.startswith("."):
            (venv / thing.name).symlink_to(thing)

    def launch_sh(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [checkout / "launch.sh", *argv],
            cwd=tmp_path,
            env={**os.environ, **ENVIRON},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    ended = launch_sh("drain", JOB_ID)
    assert ended.returncode == 0, ended.stderr
    (request,) = cloud.sent("PUT", f"{JOBS}/{JOB_ID}")
    assert request.body["requestedState"] == "JOB_STATE_DRAINED"

    cloud.refuse("PUT", f"{JOBS}/{JOB_ID}", 403, "dataflow.jobs.updateContents is missing")
    refused = launch_sh("update", JOB_ID, "--min-workers=2", "--max-workers=9")
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "dataflow.jobs.updateContents is missing" in line


def test_status(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"active_worker_instances": [{"int64Value": "3"}], "system_lag": [{"int64Value": "4"}]}
    values["system_lag"].append({"int64Value": "7"})
    values["max_worker_instances_limit"] = [{"int64Value": "9"}]

    def series(request) -> dict:  # type: ignore[no-untyped-def, type-arg]
        (asked,) = request.query["filter"]
        assert f'metric.labels.job_id="{JOB_ID}"' in asked
        name = asked.split('"')[1].rpartition("/")[2]
        return {"timeSeries": [{"points": [{"value": value}]} for value in values.get(name, [])]}

    cloud.answer("GET", f"/v3/projects/{PROJECT}/timeSeries", series)
    assert launch("status", JOB_ID) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"job          inference, {JOB_ID}",
        "state        running",
        "delivery     at-least-once",
        "workers now  3",
        "workers min  -",
        "workers max  9",
        "hint         -",
        "backlog      -",
        "lag          7 s",
    ]


def test_a_quota_project_that_may_not_be_used(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gcloud's own, and no role on the metrics would mend it."""
    monkeypatch.setenv("CLOUDSDK_BILLING_QUOTA_PROJECT", "billed-project")
    path = f"/v3/projects/{PROJECT}/timeSeries"
    cloud.refuse("GET", path, 403, "Grant the caller the serviceusage.services.use permission")
    assert launch("status", JOB_ID) == 0
    printed = capsys.readouterr().out
    assert "in the project that its calls are counted for, or name another: gcloud config set" in printed
    assert "monitoring.viewer" not in printed
    assert {request.quota_project for request in cloud.sent("GET", path)} == {"billed-project"}


def test_status_without_metrics(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.refuse("GET", f"/v3/projects/{PROJECT}/timeSeries", 403, "no")
    assert launch("status", JOB_ID) == 0
    printed = capsys.readouterr().out
    assert "metrics cannot be read: Cloud Monitoring answered 403: PERMISSION_DENIED: no; " in printed
    assert "the account needs roles/monitoring.viewer\n" in printed
    assert "workers now  -\n" in printed


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        (403, "(1a2b): dataflow.jobs.create is missing", "dataflow.jobs.create is missing"),
        (404, "(1a2b): The template was not found", "The template was not found"),
        (409, "(1a2b): There is already an active job named streaming-inference", "choose another name"),
        (429, "Quota exceeded for quota metric 'CPUS'", "ask for more quota"),
    ],
)
def test_a_refusal_is_one_line(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], status: int, message: str, said: str
) -> None:
    cloud.refuse("POST", LAUNCH, status, message)
    assert launch("run", "--model-path=/m.pt2", "--", *JOB_FLAGS) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gcloud dataflow flex-template run")
    assert said in line


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ([], "no active job is named shop"),
        (
            [("1", "shop"), ("2", "shop"), ("3", "shop-two")],
            "2 active jobs are named shop: give one's id: 1, 2",
        ),
    ],
)
def test_a_name_that_is_not_one_job(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], jobs: list[tuple[str, str]], said: str
) -> None:
    common = {
        "currentState": "JOB_STATE_RUNNING",
        "type": "JOB_TYPE_STREAMING",
        "createTime": "2026-01-02T03:04:05Z",
        "currentStateTime": "2026-01-02T03:04:05Z",
        "location": REGION,
    }
    listed = [{**common, "id": number, "name": name} for number, name in jobs]
    cloud.answer("GET", JOBS, {"jobs": listed})
    assert launch("drain", "shop") == 1
    assert said in capsys.readouterr().err
    assert cloud.sent("PUT", ".*") == []
