"""`endpoint deploy --server=triton`, and what of a container both servers take."""

from __future__ import annotations

import io
import shlex
from pathlib import Path
from typing import Any

import pytest

from launch.commands.command import Command
from launch.commands.table import ENDPOINT_DEPLOY, ENDPOINT_UPDATE, parse
from launch.rules.rule import problems
from launch.settings.setting import SettingsError
from tests.launch.endpoint.test_dry_run import (
    API,
    DEDICATED,
    DESCRIBED,
    LOCATION,
    UPLOAD,
    WHERE,
    by_rest,
    call,
    changed,
    deployed,
    run,
)

IMAGE = "us-central1-docker.pkg.dev/shop-project/images/tritonserver:25.08-py3"
TRITON = f"--server=triton --model-uri=gs://shop-models/repository --serving-image={IMAGE}"
UPLOADED = (
    f"gcloud ai models upload {WHERE} --model-id=streaming-inference --display-name=streaming-inference "
    f"--container-image-uri={IMAGE} --artifact-uri=gs://shop-models/repository "
    "--container-predict-route=/predict --container-health-route=/health --container-ports=8080"
)
DEPLOYED = deployed(
    "streaming-inference",
    "streaming-inference",
    "--machine-type=n1-standard-4 --min-replica-count=1 --max-replica-count=1",
)
SUBSCRIPTION = "projects/shop-project/subscriptions/requests"
UNDELIVERED: dict[str, Any] = {
    "metricName": "pubsub.googleapis.com/subscription/num_undelivered_messages",
    "target": 500,
    "monitoredResourceLabels": {"project_id": "shop-project", "subscription_id": "requests"},
}


def printed(flags: str, command: str = "endpoint deploy") -> tuple[list[Any], str]:
    """Return the lines of a dry run, and its notes."""
    out = io.StringIO()
    run(command, flags, dry_run=True, out=out)
    lines = out.getvalue().splitlines()
    notes = "\n".join(line for line in lines if line.startswith("# "))
    return [call(line) for line in lines if not line.startswith("# ")], notes


def found(flags: str, command: Command[Any] = ENDPOINT_DEPLOY) -> list[str]:
    argv = [*WHERE.split(), *shlex.split(flags)]
    return problems(command.rules, parse(command, argv, {}, Path("no-launch.env")))


def test_triton_is_started_by_its_images_own_entry_point() -> None:
    lines, notes = printed(TRITON)
    # No command and no arguments: the image puts tritonserver before them.
    assert lines == [UPLOADED, DEDICATED, DEPLOYED, DESCRIBED]
    assert "gs://shop-models/repository is to hold one model" in notes
    assert "--input_shape" not in notes
    assert (
        "--endpoint=streaming-inference --endpoint_location=us-central1 --endpoint_protocol=triton" in notes
    )


def test_flags_of_triton_and_of_its_container() -> None:
    flags = (
        f"{TRITON} --triton-args='--vertex-ai-default-model mine --backend-config=pytorch,a=b' "
        "--shared-memory-mb=1024 --deployment-timeout-s=3600 --endpoint-gpu=nvidia-l4"
    )
    lines, notes = printed(flags)
    assert lines[0] == (
        f"{UPLOADED} '--container-args=^~^--vertex-ai-default-model=mine~--backend-config=pytorch,a=b' "
        "--container-shared-memory-size-mb=1024 --container-deployment-timeout-seconds=3600"
    )
    assert "is to hold one model" not in notes


def test_a_startup_probe_is_for_rest() -> None:
    flags = f"{TRITON} --startup-timeout-s=601 --deployment-timeout-s=1800 --shared-memory-mb=64"
    lines, _ = printed(flags)
    assert lines[0] == (
        f"POST {API}/v1/{LOCATION}/models:upload",
        {
            "modelId": "streaming-inference",
            "model": {
                "displayName": "streaming-inference",
                "artifactUri": "gs://shop-models/repository",
                "containerSpec": {
                    "imageUri": IMAGE,
                    "predictRoute": "/predict",
                    "healthRoute": "/health",
                    "ports": [{"containerPort": 8080}],
                    "sharedMemorySizeMb": "64",
                    "deploymentTimeout": "1800s",
                    "startupProbe": {
                        "httpGet": {"path": "/health", "port": 8080},
                        "periodSeconds": 5,
                        "timeoutSeconds": 10,
                        "failureThreshold": 121,
                    },
                },
            },
        },
    )


def test_of_a_model_that_is_uploaded_the_server_is_for_the_jobs_flags() -> None:
    lines, notes = printed("--model=7 --endpoint=1 --server=triton")
    assert not [line for line in lines if "upload" in str(line)]
    assert "--endpoint_protocol=triton" in notes


def test_replicas_by_a_subscriptions_backlog() -> None:
    metric = f"--scaling-metric=pubsub-undelivered=500 --scaling-subscription={SUBSCRIPTION}"
    lines, notes = printed(f"{UPLOAD} {metric} --max-replicas=4")
    resources = {"machineSpec": {"machineType": "n1-standard-4"}, "minReplicaCount": 1, "maxReplicaCount": 4}
    assert lines[2] == by_rest("v1beta1", {**resources, "autoscalingMetricSpecs": [UNDELIVERED]})
    assert "is a Preview of Vertex AI" in notes
    assert "not verified" in notes

    lines, notes = printed(f"--endpoint=1 --deployed-model=5 --max-replicas=4 {metric}", "endpoint update")
    url, body = changed("5", {"autoscalingMetricSpecs": [UNDELIVERED]})
    assert lines[1:] == [changed("5", {"maxReplicaCount": 4}), (url.replace("/v1/", "/v1beta1/"), body)]
    assert "not verified" in notes


def test_replicas_that_the_first_request_starts() -> None:
    lines, _ = printed(f"{UPLOAD} --scale-to-zero --initial-replicas=3 --max-replicas=4")
    resources = {
        "machineSpec": {"machineType": "n1-standard-4"},
        "minReplicaCount": 0,
        "maxReplicaCount": 4,
        "initialReplicaCount": 3,
        "scaleToZeroSpec": {},
    }
    assert lines[2] == by_rest("v1beta1", resources)


UNDELIVERED_FLAGS = f"{UPLOAD} --scaling-metric=pubsub-undelivered=500"


@pytest.mark.parametrize(
    ("refused", "said", "taken"),
    [
        (
            TRITON.replace(IMAGE, "nvcr.io/nvidia/tritonserver:25.08-py3"),
            "docker tag nvcr.io/nvidia/tritonserver:25.08-py3 "
            "us-central1-docker.pkg.dev/shop-project/REPOSITORY/tritonserver:25.08-py3",
            TRITON,
        ),
        (
            "--model-uri=gs://shop-models/r --serving-image=docker.io/library/serving:1",
            "is in another registry, and Vertex AI takes images from Artifact Registry alone",
            "--model-uri=gs://shop-models/r --serving-image=eu.gcr.io/shop-project/serving:1",
        ),
        (f"{TRITON} --serving-args=--workers=2", "those of Triton are --triton-args", TRITON),
        (
            f"{UPLOAD} --triton-args=--log-verbose=1",
            "add --server=triton",
            f"{TRITON} --triton-args=--log-verbose=1",
        ),
        (
            f"--server=triton --model-uri=gs://shop-models/repository/model/1 --serving-image={IMAGE}",
            "looks like a version's folder",
            f"--server=triton --model-uri=gs://shop-models/repository --serving-image={IMAGE}",
        ),
        (
            f"--server=triton --model-uri=gs://shop-models/model.pt2 --serving-image={IMAGE}",
            "gs://shop-models/model.pt2 is a file",
            f"--server=serving --model-uri=gs://shop-models/model.pt2 --serving-image={IMAGE}",
        ),
        (
            f"{TRITON} --deployment-timeout-s=7201",
            "7201 is above 7200 s (2 hours)",
            f"{TRITON} --deployment-timeout-s=7200",
        ),
        (
            f"{TRITON} --startup-timeout-s=601 --deployment-timeout-s=600",
            "601 is above --deployment-timeout-s, 600",
            f"{TRITON} --startup-timeout-s=600 --deployment-timeout-s=600",
        ),
        ("--model=7 --shared-memory-mb=64", "so --shared-memory-mb would be ignored", "--model=7"),
        (
            UNDELIVERED_FLAGS,
            "--scaling-subscription: missing",
            f"{UNDELIVERED_FLAGS} --scaling-subscription={SUBSCRIPTION}",
        ),
        (
            f"{UNDELIVERED_FLAGS} --scaling-subscription=projects/shop-project/subscriptions/{'a' * 64}",
            "has 64 characters, of which Vertex AI takes 63",
            f"{UNDELIVERED_FLAGS} --scaling-subscription=projects/shop-project/subscriptions/{'a' * 63}",
        ),
        (
            f"{UPLOAD} --scaling-subscription={SUBSCRIPTION} --scaling-metric=cpu-usage=50",
            "no effect without --scaling-metric=pubsub-undelivered",
            f"{UPLOAD} --scaling-metric=cpu-usage=50",
        ),
        (
            f"{UPLOAD} --initial-replicas=1",
            "is of --scale-to-zero alone",
            f"{UPLOAD} --scale-to-zero --initial-replicas=1",
        ),
        (
            f"{UPLOAD} --scale-to-zero --initial-replicas=3 --max-replicas=2",
            "3 is above --max-replicas, 2",
            f"{UPLOAD} --scale-to-zero --initial-replicas=2 --max-replicas=2",
        ),
        # Of the GPUs of Triton's image nothing is known here.
        (
            f"{UPLOAD} --endpoint-gpu=nvidia-tesla-v100",
            "needs torch for CUDA 12.6",
            f"{TRITON} --endpoint-gpu=nvidia-tesla-v100",
        ),
    ],
)
def test_what_a_deployment_would_fail_at_is_refused(refused: str, said: str, taken: str) -> None:
    (problem,) = found(refused)
    assert said in problem
    assert problem.startswith("--")
    assert found(taken) == []


def test_an_update_needs_the_subscription_too() -> None:
    (problem,) = found("--endpoint=1 --scaling-metric=pubsub-undelivered=5", ENDPOINT_UPDATE)
    assert problem.startswith("--scaling-subscription: missing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "--model-repository=gs://m",
            "--model-repository: the models are those of --model-uri: leave it out",
        ),
        ("--vertex-ai-port=80", "--vertex-ai-port: the port is that of the deployment"),
        ("--log-verbose", "--log-verbose: needs a value"),
        ("mine", "'mine' is not a flag of Triton"),
        ("--log_verbose=1", "'--log_verbose' is not a flag of Triton"),
        ("--a='b", "No closing quotation"),
    ],
)
def test_a_flag_of_triton_that_cannot_be_passed_on(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse(ENDPOINT_DEPLOY, [*WHERE.split(), f"--triton-args={text}"], {}, Path("no-launch.env"))
    assert str(error.value).startswith(f"--triton-args: {said}")
