"""`./launch.sh endpoint …`: what a dry run prints."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from launch.cloud.rest import OVERRIDE
from launch.cloud.shell import Shell
from launch.commands.table import command_named, parse
from launch.settings.setting import SettingsError

WHERE = "--project=shop-project --region=us-central1"
LOCATION = "projects/shop-project/locations/us-central1"
API = "https://us-central1-aiplatform.googleapis.com"
IMAGE = "us-central1-docker.pkg.dev/shop-project/images/serving:1"
UPLOAD = f"--model-uri=gs://shop-models/m --serving-image={IMAGE}"

SHAPE = "a:float32:3,b:int64:224"
UPLOADED = (
    f"gcloud ai models upload {WHERE} --model-id=streaming-inference --display-name=streaming-inference "
    f"--container-image-uri={IMAGE} --artifact-uri=gs://shop-models/m --container-predict-route=/predict "
    "--container-health-route=/health --container-ports=8080"
)
DEDICATED = (
    f"POST {API}/v1/{LOCATION}/endpoints?endpointId=streaming-inference",
    {"displayName": "streaming-inference", "dedicatedEndpointEnabled": True},
)
DESCRIBED = f"gcloud ai endpoints describe streaming-inference {WHERE} --format=json"


def deployed(endpoint: str, model: str, rest: str) -> str:
    return (
        f"gcloud ai endpoints deploy-model {endpoint} {WHERE} --model={model} --display-name={model} "
        f"--traffic-split=0=100 {rest}"
    )


def by_rest(version: str, resources: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return (
        f"POST {API}/{version}/{LOCATION}/endpoints/streaming-inference:deployModel",
        {
            "deployedModel": {
                "model": f"{LOCATION}/models/streaming-inference",
                "displayName": "streaming-inference",
                "dedicatedResources": resources,
            },
            "trafficSplit": {"0": 100},
        },
    )


def changed(model: str, resources: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return (
        f"POST {API}/v1/{LOCATION}/endpoints/1:mutateDeployedModel",
        {
            "deployedModel": {"id": model, "dedicatedResources": resources},
            "updateMask": ",".join(f"dedicatedResources.{name}" for name in resources),
        },
    )


def run(command: str, flags: str, *, dry_run: bool, out: io.StringIO) -> None:
    named = command_named(command)
    settings = parse(named, [*WHERE.split(), *shlex.split(flags)], {}, Path("no-launch.env"))
    named.execute(settings, Shell(dry_run=dry_run, out=out))


def call(line: str) -> str | tuple[str, Any]:
    """Return a line of a dry run: the command, or of curl the method and URL, and the body."""
    words = shlex.split(line)
    if words[0] != "curl":
        return line
    # The shell fills the token in when the line is pasted.
    assert '"Authorization: Bearer $(gcloud auth print-access-token)"' in line
    return f"POST {words[-1]}", json.loads(words[words.index("--data") + 1])


@pytest.mark.parametrize(
    ("command", "flags", "expected"),
    [
        (
            "endpoint deploy",
            UPLOAD,
            [
                UPLOADED,
                DEDICATED,
                deployed(
                    "streaming-inference",
                    "streaming-inference",
                    "--machine-type=n1-standard-4 --min-replica-count=1 --max-replica-count=1",
                ),
                DESCRIBED,
            ],
        ),
        (
            "endpoint deploy",
            f"{UPLOAD} --serving-args='--input_shape={SHAPE} --workers=2' --endpoint-kind=shared "
            "--min-replicas=2 --max-replicas=8 --endpoint-gpu=nvidia-tesla-t4:2 "
            "--endpoint-machine-type=n1-standard-8 "
            "--scaling-metric=cpu-usage=50,gpu-duty-cycle=70",
            [
                f"{UPLOADED} '--container-args=^~^--input_shape={SHAPE}~--workers=2~--device=gpu'",
                f"gcloud ai endpoints create {WHERE} --endpoint-id=streaming-inference "
                "--display-name=streaming-inference",
                deployed(
                    "streaming-inference",
                    "streaming-inference",
                    "--machine-type=n1-standard-8 --min-replica-count=2 --max-replica-count=8 "
                    "--accelerator=type=nvidia-tesla-t4,count=2 "
                    "--autoscaling-metric-specs=cpu-usage=50,gpu-duty-cycle=70",
                ),
                DESCRIBED,
            ],
        ),
        (
            "endpoint deploy",
            "--endpoint=77 --model=my-model@2 --min-replicas=3",
            [
                DESCRIBED.replace("streaming-inference", "77"),
                deployed(
                    "77",
                    "my-model@2",
                    "--machine-type=n1-standard-4 --min-replica-count=3 --max-replica-count=3",
                ),
                DESCRIBED.replace("streaming-inference", "77"),
            ],
        ),
        (
            "endpoint deploy",
            f"{UPLOAD} --scale-to-zero --max-replicas=2 --min-scaleup-s=600 --idle-scaledown-s=900 "
            "--endpoint-gpu=nvidia-l4",
            [
                f"{UPLOADED} --container-args=--device=gpu",
                DEDICATED,
                by_rest(
                    "v1beta1",
                    {
                        "machineSpec": {
                            "machineType": "g2-standard-4",
                            "acceleratorType": "NVIDIA_L4",
                            "acceleratorCount": 1,
                        },
                        "minReplicaCount": 0,
                        "maxReplicaCount": 2,
                        "initialReplicaCount": 1,
                        "scaleToZeroSpec": {"minScaleupPeriod": "600s", "idleScaledownPeriod": "900s"},
                    },
                ),
                DESCRIBED,
            ],
        ),
        (
            "endpoint deploy",
            f"{UPLOAD} --scaling-metric=request-counts-per-minute=6000",
            [
                UPLOADED,
                DEDICATED,
                by_rest(
                    "v1",
                    {
                        "machineSpec": {"machineType": "n1-standard-4"},
                        "minReplicaCount": 1,
                        "maxReplicaCount": 1,
                        "autoscalingMetricSpecs": [
                            {
                                "metricName": "aiplatform.googleapis.com/prediction/online/request_count",
                                "target": 6000,
                            }
                        ],
                    },
                ),
                DESCRIBED,
            ],
        ),
        (
            "endpoint update",
            "--endpoint=1 --deployed-model=5 --min-replicas=2 --max-replicas=4 --scaling-metric=cpu-usage=50",
            [
                DESCRIBED.replace("streaming-inference", "1"),
                changed("5", {"minReplicaCount": 2, "maxReplicaCount": 4}),
                changed(
                    "5",
                    {
                        "autoscalingMetricSpecs": [
                            {
                                "metricName": "aiplatform.googleapis.com/prediction/online/cpu/utilization",
                                "target": 50,
                            }
                        ]
                    },
                ),
            ],
        ),
        (
            "endpoint update",
            "--endpoint=1 --max-replicas=4",
            [
                DESCRIBED.replace("streaming-inference", "1"),
                changed("DEPLOYED_MODEL_ID", {"maxReplicaCount": 4}),
            ],
        ),
        (
            "endpoint undeploy",
            "--endpoint=1 --deployed-model=5",
            [
                DESCRIBED.replace("streaming-inference", "1"),
                f"gcloud ai endpoints undeploy-model 1 {WHERE} --deployed-model-id=5",
            ],
        ),
        (
            "endpoint undeploy",
            "--endpoint=1 --delete",
            [
                DESCRIBED.replace("streaming-inference", "1"),
                f"gcloud ai endpoints undeploy-model 1 {WHERE} --deployed-model-id=DEPLOYED_MODEL_ID",
                f"gcloud ai endpoints delete 1 {WHERE} --quiet",
                f"gcloud ai models delete MODEL_ID {WHERE} --quiet",
            ],
        ),
    ],
)
def test_dry_run(
    command: str, flags: str, expected: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(OVERRIDE, raising=False)
    # Nothing can be run from there.
    monkeypatch.setenv("PATH", str(tmp_path))
    out = io.StringIO()
    run(command, flags, dry_run=True, out=out)
    assert [call(line) for line in out.getvalue().splitlines() if not line.startswith("# ")] == expected


@pytest.mark.parametrize(
    ("flags", "shown", "address"),
    [
        (UPLOAD, "--endpoint=streaming-inference", True),
        (f"{UPLOAD} --endpoint-kind=shared", "--endpoint=streaming-inference", False),
        (f"{UPLOAD} --endpoint=77", "--endpoint=77", True),
    ],
)
def test_a_dry_run_ends_with_the_flags_of_the_job(flags: str, shown: str, address: bool) -> None:
    out = io.StringIO()
    run("endpoint deploy", flags, dry_run=True, out=out)
    end = out.getvalue().rpartition("--format=json\n")[2]
    assert f"{shown} --endpoint_location=us-central1\n" in end
    assert ("--endpoint_url=https://" in end) is address


def test_problems_are_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    out = io.StringIO()
    with pytest.raises(SettingsError, match="3 is above --max-replicas, 2"):
        run("endpoint deploy", f"{UPLOAD} --min-replicas=3 --max-replicas=2", dry_run=False, out=out)
    assert out.getvalue() == ""
