"""What each command prints under --dry-run: the exact commands, to paste; and that nothing is run then."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from launch.__main__ import main
from tests.launch.conftest import ENVIRON
from tests.waiting import LIMIT_S

ROOT = Path(__file__).parents[2]
WHERE = "--project=shop-project --region=us-central1"
JOB_ID = "2026-01-02_03_04_05-678"
LIST = f"JOB_ID=$(gcloud dataflow jobs list {WHERE} --status=active --filter=name=shop '--format=value(id)')"
SERVING = "us-docker.pkg.dev/shop-project/inference/serving:7"
IMAGE = "us-docker.pkg.dev/shop-project/inference/worker"
JOB_FLAGS = (
    "--input_subscription=projects/shop-project/subscriptions/requests",
    "--output_topic=projects/shop-project/topics/results",
    "--dead_letter_topic=projects/shop-project/topics/dead-letters",
)
KEY = "projects/shop-keys/locations/us-central1/keyRings/ring/cryptoKeys/key"
JOB_PARAMETERS = [flag.removeprefix("--") for flag in JOB_FLAGS]


def launched(
    name: str,
    variant: str,
    flags: str,
    parameters: str,
    end: str = "",
    experiments: str = "streaming_mode_at_least_once",
) -> str:
    return (
        f"gcloud dataflow flex-template run {name} {WHERE} "
        f"--template-file-gcs-location=gs://shop-bucket/templates/worker-1-{variant}.json "
        "--staging-location=gs://shop-bucket/staging --temp-location=gs://shop-bucket/temp "
        f"--enable-streaming-engine{flags} --additional-experiments={experiments} "
        f"{parameters}{end} '--format=value(job.id)'"
    )


SPEC = (
    "gcloud dataflow flex-template build gs://shop-bucket/templates/worker-1-{0}.json --project=shop-project "
    f"--image={IMAGE}:1-{{0}} --sdk-language=PYTHON --metadata-file={ROOT}/metadata.json"
)
CASES = [
    (
        ["build", "cpu"],
        [
            f"gcloud builds submit {ROOT} --project=shop-project --config={ROOT}/cloudbuild.yaml "
            f"--substitutions=_IMAGE={IMAGE},_TAG=1-cpu,_DOCKERFILE=Dockerfile.cpu,_TARGET=worker "
            "--ignore-file=.gcloudignore --gcs-source-staging-dir=gs://shop-bucket/source",
            SPEC.format("cpu"),
        ],
    ),
    (
        ["build", "gpu", "--builder=docker"],
        [
            f"docker build --platform=linux/amd64 --file={ROOT}/Dockerfile.gpu --target=worker "
            f"--tag={IMAGE}:1-gpu {ROOT}",
            f"docker push {IMAGE}:1-gpu",
            SPEC.format("gpu"),
        ],
    ),
    (
        ["build", "cpu", "--serving", f"--serving-image={SERVING}"],
        [
            f"gcloud builds submit {ROOT} --project=shop-project --config={ROOT}/cloudbuild.yaml "
            "--substitutions=_IMAGE=us-docker.pkg.dev/shop-project/inference/serving,_TAG=7,"
            "_DOCKERFILE=Dockerfile.cpu,_TARGET=serving "
            "--ignore-file=.gcloudignore --gcs-source-staging-dir=gs://shop-bucket/source",
        ],
    ),
    (
        [
            *("build", "gpu", "--builder=docker", "--serving", "--gpu-torch=cu126"),
            f"--serving-image={SERVING}",
        ],
        [
            f"docker build --platform=linux/amd64 --file={ROOT}/Dockerfile.gpu --target=serving "
            f"--build-arg=TORCH_BACKEND=cu126 --tag={SERVING} {ROOT}",
            f"docker push {SERVING}",
        ],
    ),
    (
        # What launch.env may hold for the GPU image is nothing to the other.
        ["build", "cpu", "--gpu-torch=cu126", "--torch-index=https://mirror.example/a-b"],
        [
            f"gcloud builds submit {ROOT} --project=shop-project --config={ROOT}/cloudbuild.yaml "
            f"--substitutions=_IMAGE={IMAGE},_TAG=1-cpu,_DOCKERFILE=Dockerfile.cpu,_TARGET=worker,"
            "_PIP_EXTRA_INDEX_URL=https://mirror.example/a-b "
            "--ignore-file=.gcloudignore --gcs-source-staging-dir=gs://shop-bucket/source",
            SPEC.format("cpu"),
        ],
    ),
    (
        ["run", "--model-path=/m.pt2", "--max-workers=4", "--", *JOB_FLAGS],
        [
            launched(
                "streaming-inference",
                "cpu",
                " --max-workers=4",
                f"--parameters=inference_mode=local,model_path=/m.pt2,{','.join(JOB_PARAMETERS)},"
                f"sdk_container_image={IMAGE}:1-cpu,dataflow_service_options=streaming_mode_at_least_once",
            )
        ],
    ),
    (
        [
            *(
                "run",
                "--model-path=/m.pt2",
                "--labels=team=fraud,env=",
                "--launcher-machine-type=n1-standard-2",
            ),
            *(f"--kms-key={KEY}", "--", *JOB_FLAGS),
        ],
        [
            launched(
                "streaming-inference",
                "cpu",
                f" --launcher-machine-type=n1-standard-2 --dataflow-kms-key={KEY} "
                "--additional-user-labels=team=fraud,env=",
                f"--parameters=inference_mode=local,model_path=/m.pt2,{','.join(JOB_PARAMETERS)},"
                f"sdk_container_image={IMAGE}:1-cpu,dataflow_service_options=streaming_mode_at_least_once",
            )
        ],
    ),
    (
        [
            "run",
            "--model-path=/m.pt2",
            "--gpu=nvidia-l4",
            "--min-workers=2",
            "--job-name=shop",
            "--",
            *JOB_FLAGS,
        ],
        [
            launched(
                "shop",
                "gpu",
                " --worker-machine-type=g2-standard-4",
                "'--parameters=^~^inference_mode=local~model_path=/m.pt2~device=gpu~"
                f"{'~'.join(JOB_PARAMETERS)}~sdk_container_image={IMAGE}:1-gpu~"
                "dataflow_service_options=streaming_mode_at_least_once,min_num_workers=2,"
                "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver~disk_size_gb=50'",
                experiments="streaming_mode_at_least_once,use_runner_v2",
            )
        ],
    ),
    (
        [
            *("run", "--gpu=nvidia-l4", "--gpu-sharing=single-process", "--delivery=exactly-once"),
            *("--", *JOB_FLAGS),
            *("--model_pointer=gs://shop-bucket/models/current", "--device=auto"),
        ],
        [
            launched(
                "streaming-inference",
                "gpu",
                " --worker-machine-type=g2-standard-4",
                "'--parameters=inference_mode=local,device=auto,worker_processes=single,"
                f"{','.join(JOB_PARAMETERS)},model_pointer=gs://shop-bucket/models/current,"
                f"sdk_container_image={IMAGE}:1-gpu,dataflow_service_options="
                "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver,disk_size_gb=50'",
                experiments="streaming_mode_exactly_once,use_runner_v2",
            )
        ],
    ),
    (
        [
            *(
                "replace",
                "shop",
                "--mode=endpoint",
                "--transform-name-mappings=Old=New,A=B",
                "--delivery=exactly-once",
                "--",
                *JOB_FLAGS,
            ),
            *("--endpoint=123", "--endpoint_location=us-central1"),
        ],
        [
            launched(
                "shop",
                "cpu",
                "",
                f"--parameters=inference_mode=endpoint,{','.join(JOB_PARAMETERS)},endpoint=123,"
                f"endpoint_location=us-central1,sdk_container_image={IMAGE}:1-cpu",
                " --update --transform-name-mappings=Old=New,A=B",
                experiments="streaming_mode_exactly_once",
            )
        ],
    ),
    (
        ["update", "shop", "--min-workers=2", "--max-workers=9", "--utilization-hint=0.6"],
        [
            LIST,
            f'gcloud dataflow jobs update-options "$JOB_ID" {WHERE} --min-num-workers=2 --max-num-workers=9 '
            "--worker-utilization-hint=0.6",
        ],
    ),
    (
        ["update", JOB_ID, "--utilization-hint=none"],
        [f"gcloud dataflow jobs update-options {JOB_ID} {WHERE} --unset-worker-utilization-hint"],
    ),
    (["drain", "shop"], [LIST, f'gcloud dataflow jobs drain "$JOB_ID" {WHERE}']),
    (["drain", JOB_ID], [f"gcloud dataflow jobs drain {JOB_ID} {WHERE}"]),
    (["cancel", "shop"], [LIST, f'gcloud dataflow jobs cancel "$JOB_ID" {WHERE}']),
]


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With nothing on PATH, a command that is run fails."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("no_programs")
@pytest.mark.parametrize(("argv", "lines"), CASES, ids=[" ".join(argv)[:50] for argv, _ in CASES])
def test_what_is_printed(
    argv: list[str], lines: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = argv.index("--") if "--" in argv else len(argv)
    assert main([*argv[:cut], "--dry-run", *argv[cut:]], ENVIRON, tmp_path / "none") == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if not line.startswith("# ")] == lines


def test_status_reads_the_job_and_its_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "shop", "--dry-run"], ENVIRON, tmp_path / "none") == 0
    listing, describe, *metrics = capsys.readouterr().out.splitlines()
    assert listing == LIST
    assert describe == f'gcloud dataflow jobs describe "$JOB_ID" {WHERE} --full --format=json'
    assert len(metrics) == 5
    for line in metrics:
        assert line.startswith("curl ")
        assert """metric.labels.job_id="'"$JOB_ID"'"'""" in line


def test_the_lines_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run by bash, with programs that print how they were called."""
    echo = tmp_path / "gcloud"
    echo.write_text(
        f"#!{sys.executable}\nimport shlex, sys\n"
        f"print({JOB_ID!r} if 'list' in sys.argv else shlex.join(sys.argv[1:]))\n"
    )
    echo.chmod(0o755)
    (tmp_path / "curl").symlink_to(echo)
    for argv in (["update", "shop", "--min-workers=2"], ["status", "shop"], ["cancel", "shop"]):
        assert main([*argv, "--dry-run"], ENVIRON, tmp_path / "none") == 0
    ran = subprocess.run(
        ["bash", "-euc", capsys.readouterr().out],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    update, describe, *metrics, cancel = [shlex.split(line) for line in ran.stdout.splitlines()]
    assert update[:4] == ["dataflow", "jobs", "update-options", JOB_ID]
    assert describe[:4] == ["dataflow", "jobs", "describe", JOB_ID]
    assert cancel[:4] == ["dataflow", "jobs", "cancel", JOB_ID]
    filters = [word for words in metrics for word in words if word.startswith("filter=")]
    assert filters[0] == (
        'filter=metric.type="dataflow.googleapis.com/job/active_worker_instances" '
        f'AND metric.labels.job_id="{JOB_ID}"'
    )


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "nothing: not one of setup, build, run, "),
        (["launch"], "launch: not one of"),
        (["run", "--min-workers=3", "--max-workers=2"], "--min-workers: 3 is above"),
        (["run", "--model-path=model.pt2", "--", *JOB_FLAGS], "'model.pt2' is not an absolute path"),
        (["run", "--model-path=bucket/m.pt2", "--", *JOB_FLAGS], "begin with a slash, or with gs://"),
        (
            ["run", "--model-path=/m.pt2", "--", *JOB_FLAGS, "--model_pointer=/models/current"],
            "give one of the two",
        ),
        (["run", "--model-path=/m.pt2", "--", *JOB_FLAGS[1:]], "--input_subscription: missing"),
        (
            ["run", "--model-path=/m.pt2", "--", *JOB_FLAGS, "--max_batch_size=0"],
            "--max_batch_size: '0' is not",
        ),
        (["drain"], "JOB: missing"),
        (["cancel", "shop"], "Cancelling shop may lose requests"),
    ],
)
@pytest.mark.usefixtures("no_programs")
def test_wrong_settings_end_with_2(
    argv: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open(os.devnull) as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        assert main(argv, ENVIRON, tmp_path / "none") == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("no_programs")
def test_without_gcloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drain", JOB_ID], ENVIRON, tmp_path / "none") == 1
    assert "gcloud was not found" in capsys.readouterr().err


def test_help(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["endpoint", "deploy", "--help"], {}, tmp_path / "none") == 0
    assert capsys.readouterr().out.startswith("usage: ./launch.sh endpoint deploy [flags]")
