"""`./launch.sh endpoint …` with the real gcloud and the REST calls, against a server on loopback."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launch.__main__ import main
from launch.cloud import rest
from launch.cloud.shell import CommandError, Shell
from launch.commands import endpoint as endpoint_commands
from launch.commands.table import command_named, parse
from launch.settings.setting import SettingsError
from tests.launch.cloud import PROJECT, REGION, Cloud
from tests.waiting import LIMIT_S

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("gcloud"), reason="needs the Google Cloud CLI (gcloud)"),
]

LOCATION = f"projects/{PROJECT}/locations/{REGION}"
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/images/serving:1"
UPLOAD = ("--model-uri=gs://shop-models/m", f"--serving-image={IMAGE}")
CPU = "aiplatform.googleapis.com/prediction/online/cpu/utilization"
DUTY_CYCLE = "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle"


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with Cloud() as running:
        for name, value in running.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        yield running


WHERE = (f"--project={PROJECT}", f"--region={REGION}")


def run(command: str, *flags: str, dry_run: bool = False) -> list[str]:
    """Return the lines that were printed."""
    out = io.StringIO()
    named = command_named(command)
    settings = parse(named, [*WHERE, *flags], {}, Path("no-launch.env"))
    named.execute(settings, Shell(dry_run=dry_run, out=out))
    return out.getvalue().splitlines()


def only(cloud: Cloud, method: str, path: str) -> Any:
    (request,) = cloud.sent(method, path)
    return request.body


def test_deploy(cloud: Cloud) -> None:
    printed = run(
        "endpoint deploy",
        *UPLOAD,
        "--serving-args=--input_shape=a:float32:3,b:int64:224 --workers=2",
        "--min-replicas=1",
        "--max-replicas=4",
        "--endpoint-gpu=nvidia-l4:1",
        "--scaling-metric=cpu-usage=50,gpu-duty-cycle=70",
    )
    model = only(cloud, "POST", f"/v1/{LOCATION}/models:upload")
    assert model["modelId"] == "streaming-inference"
    assert model["model"] == {
        "displayName": "streaming-inference",
        "artifactUri": "gs://shop-models/m",
        "containerSpec": {
            "imageUri": IMAGE,
            "args": ["--input_shape=a:float32:3,b:int64:224", "--workers=2", "--device=gpu"],
            "predictRoute": "/predict",
            "healthRoute": "/health",
            "ports": [{"containerPort": 8080}],
        },
    }
    (made,) = cloud.sent("POST", f"/v1/{LOCATION}/endpoints")
    assert made.query == {"endpointId": ["streaming-inference"]}
    assert made.body == {"displayName": "streaming-inference", "dedicatedEndpointEnabled": True}
    assert made.token == "Bearer not-a-token"
    deployed = only(cloud, "POST", f"/v1/{LOCATION}/endpoints/streaming-inference:deployModel")
    assert deployed["trafficSplit"] == {"0": 100}
    assert deployed["deployedModel"]["model"] == f"{LOCATION}/models/streaming-inference"
    resources = deployed["deployedModel"]["dedicatedResources"]
    assert resources.pop("spot", False) is False
    # gcloud keeps no order of them.
    assert sorted(resources.pop("autoscalingMetricSpecs"), key=lambda spec: spec["target"]) == [
        {"metricName": CPU, "target": 50},
        {"metricName": DUTY_CYCLE, "target": 70},
    ]
    assert resources == {
        "machineSpec": {
            "machineType": "g2-standard-4",
            "acceleratorType": "NVIDIA_L4",
            "acceleratorCount": 1,
        },
        "minReplicaCount": 1,
        "maxReplicaCount": 4,
    }
    assert printed[-1] == (
        f"--endpoint=streaming-inference --endpoint_location={REGION} "
        f"--endpoint_url=https://1.{REGION}-1.prediction.vertexai.goog"
    )


@pytest.mark.parametrize(
    ("flags", "version"),
    [
        ((), "v1"),
        (("--scaling-metric=request-counts-per-minute=600",), "v1"),
        (("--scale-to-zero",), "v1beta1"),
    ],
    ids=["gcloud", "REST", "Preview"],
)
def test_deploy_under_an_account(cloud: Cloud, flags: tuple[str, ...], version: str) -> None:
    path = f"/{version}/{LOCATION}/endpoints/1:deployModel"
    deploy = ("endpoint deploy", "--model=7", "--endpoint=1", "--max-replicas=2", *flags)
    account = f"replica@{PROJECT}.iam.gserviceaccount.com"
    run(*deploy, f"--endpoint-service-account={account}")
    assert only(cloud, "POST", path)["deployedModel"]["serviceAccount"] == account
    run(*deploy)
    _, without = cloud.sent("POST", path)
    assert "serviceAccount" not in without.body["deployedModel"]


@pytest.mark.parametrize("by_rest", [False, True])
def test_deploy_triton(cloud: Cloud, by_rest: bool) -> None:
    """By gcloud and, for a startup probe, by REST: the same container but for that."""
    image = f"{REGION}-docker.pkg.dev/{PROJECT}/images/tritonserver:25.08-py3"
    printed = run(
        "endpoint deploy",
        "--server=triton",
        "--model-uri=gs://shop-models/repository",
        f"--serving-image={image}",
        "--triton-args=--vertex-ai-default-model=mine --backend-config=pytorch,a=b",
        "--shared-memory-mb=1024",
        "--deployment-timeout-s=3600",
        *(["--startup-timeout-s=600"] if by_rest else []),
    )
    model = only(cloud, "POST", f"/v1/{LOCATION}/models:upload")["model"]
    assert model["artifactUri"] == "gs://shop-models/repository"
    container = model["containerSpec"]
    probe = container.pop("startupProbe", None)
    assert container == {
        "imageUri": image,
        "args": ["--vertex-ai-default-model=mine", "--backend-config=pytorch,a=b"],
        "predictRoute": "/predict",
        "healthRoute": "/health",
        "ports": [{"containerPort": 8080}],
        "sharedMemorySizeMb": "1024",
        "deploymentTimeout": "3600s",
    }
    assert (probe is not None) is by_rest
    assert "--endpoint_protocol=triton" in printed[-1]


def test_deploy_by_a_subscriptions_backlog(cloud: Cloud) -> None:
    run(
        "endpoint deploy",
        *("--model=7", "--endpoint=1", "--scaling-metric=pubsub-undelivered=500"),
        f"--scaling-subscription=projects/{PROJECT}/subscriptions/requests",
    )
    deployed = only(cloud, "POST", f"/v1beta1/{LOCATION}/endpoints/1:deployModel")
    assert deployed["deployedModel"]["dedicatedResources"]["autoscalingMetricSpecs"] == [
        {
            "metricName": "pubsub.googleapis.com/subscription/num_undelivered_messages",
            "target": 500,
            "monitoredResourceLabels": {"project_id": PROJECT, "subscription_id": "requests"},
        }
    ]


def test_deploy_with_scale_to_zero(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_commands, "Rest", lambda *args: rest.Rest(*args, poll_s=0.01))
    operation = f"projects/1/locations/{REGION}/operations/slow"
    cloud.answer("POST", r".*:deployModel", {"name": operation})
    asked: list[Any] = []

    def state(request: Any) -> dict[str, Any]:
        asked.append(request)
        return {"name": operation} if len(asked) < 3 else {"name": operation, "done": True, "response": {}}

    cloud.answer("GET", f"/v1beta1/{operation}", state)
    run("endpoint deploy", "--model=7", "--endpoint=1", "--scale-to-zero", "--min-scaleup-s=600")
    deployed = only(cloud, "POST", f"/v1beta1/{LOCATION}/endpoints/1:deployModel")
    assert deployed["deployedModel"]["dedicatedResources"] == {
        "machineSpec": {"machineType": "n1-standard-4"},
        "minReplicaCount": 0,
        "maxReplicaCount": 1,
        "initialReplicaCount": 1,
        "scaleToZeroSpec": {"minScaleupPeriod": "600s"},
    }
    assert deployed["trafficSplit"] == {"0": 100}
    assert len(asked) == 3
    assert cloud.sent("POST", ".*models:upload") == []


def test_update(cloud: Cloud) -> None:
    resources = {"machineSpec": {"machineType": "n1-standard-4"}, "minReplicaCount": 1, "maxReplicaCount": 2}
    model = {"id": "5", "model": f"{LOCATION}/models/7", "dedicatedResources": resources}
    cloud.answer("GET", f"/v1/{LOCATION}/endpoints/1", {"name": "1", "deployedModels": [model]})
    with pytest.raises(SettingsError, match="min-replicas would be 3 and max-replicas 2"):
        run("endpoint update", "--endpoint=1", "--min-replicas=3")
    assert cloud.sent("POST", ".*") == []

    run("endpoint update", "--endpoint=1", "--max-replicas=6", "--scaling-metric=cpu-usage=40")
    counts, metrics = cloud.sent("POST", f"/v1/{LOCATION}/endpoints/1:mutateDeployedModel")
    assert counts.body == {
        "deployedModel": {"id": "5", "dedicatedResources": {"maxReplicaCount": 6}},
        "updateMask": "dedicatedResources.maxReplicaCount",
    }
    assert metrics.body == {
        "deployedModel": {
            "id": "5",
            "dedicatedResources": {"autoscalingMetricSpecs": [{"metricName": CPU, "target": 40}]},
        },
        "updateMask": "dedicatedResources.autoscalingMetricSpecs",
    }


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl, which what gcloud cannot do is printed for")
def test_a_dry_run_pasted_into_a_shell_makes_the_same_calls(cloud: Cloud) -> None:
    flags = (
        *UPLOAD,
        "--serving-args=--input_shape=a:float32:3,b:int64:224 --workers=2",
        "--scale-to-zero",
        "--max-replicas=2",
    )
    printed = run("endpoint deploy", *flags, dry_run=True)
    assert cloud.requests == []
    subprocess.run(["bash", "-euc", "\n".join(printed)], check=True, capture_output=True, timeout=LIMIT_S)
    by_hand = list(cloud.requests)
    cloud.requests.clear()
    run("endpoint deploy", *flags)
    assert [request.method for request in by_hand] == ["POST", "POST", "POST", "GET"]
    assert cloud.requests == by_hand


def test_the_models_of_an_endpoint_share_its_requests_anew(cloud: Cloud) -> None:
    models = [{"id": name, "model": f"{LOCATION}/models/7"} for name in ("5", "6")]
    found = {"name": f"{LOCATION}/endpoints/1", "deployedModels": models, "trafficSplit": {"5": 100}}
    cloud.answer("GET", f"/v1/{LOCATION}/endpoints/1", found)
    cloud.answer("PATCH", f"/v1/{LOCATION}/endpoints/1", found)
    run("endpoint update", "--endpoint=1", "--traffic-split=5=10,6=90")
    (request,) = cloud.sent("PATCH", f"/v1/{LOCATION}/endpoints/1")
    assert request.query["updateMask"] == ["traffic_split"]
    assert request.body["trafficSplit"] == {"5": 10, "6": 90}


def test_a_second_model_gets_its_share(cloud: Cloud) -> None:
    models = [{"id": "5", "model": f"{LOCATION}/models/7"}]
    found = {"name": f"{LOCATION}/endpoints/1", "deployedModels": models, "trafficSplit": {"5": 100}}
    cloud.answer("GET", f"/v1/{LOCATION}/endpoints/1", found)
    printed = run(
        "endpoint deploy", *UPLOAD, "--endpoint=1", "--traffic=10", "--serving-args=--input_shape=4"
    )
    deployed = only(cloud, "POST", f"/v1/{LOCATION}/endpoints/1:deployModel")
    assert deployed["trafficSplit"] == {"0": 10, "5": 90}
    assert [
        line for line in printed if line.startswith("5 stays, with 90 percent of the requests, and is billed")
    ]


def test_an_endpoint_and_its_model_under_a_key(cloud: Cloud) -> None:
    key = f"projects/{PROJECT}/locations/{REGION}/keyRings/ring/cryptoKeys/key"
    run("endpoint deploy", *UPLOAD, "--endpoint-kind=shared", f"--kms-key={key}", "--labels=team=fraud")
    model = only(cloud, "POST", f"/v1/{LOCATION}/models:upload")
    endpoint = only(cloud, "POST", f"/v1/{LOCATION}/endpoints")
    for made in (model["model"], endpoint):
        assert made["encryptionSpec"] == {"kmsKeyName": key}
        assert made["labels"] == {"team": "fraud"}
    assert model["modelId"] == "streaming-inference"
    assert model["model"]["containerSpec"]["imageUri"] == IMAGE


def test_undeploy(cloud: Cloud) -> None:
    model = {"id": "5", "model": f"{LOCATION}/models/7@2"}
    cloud.answer("GET", f"/v1/{LOCATION}/endpoints/1", {"name": "1", "deployedModels": [model]})
    run("endpoint undeploy", "--endpoint=1", "--yes", "--delete")
    assert only(cloud, "POST", f"/v1/{LOCATION}/endpoints/1:undeployModel")["deployedModelId"] == "5"
    assert len(cloud.sent("DELETE", f"/v1/{LOCATION}/endpoints/1")) == 1
    assert len(cloud.sent("DELETE", f"/v1/{LOCATION}/models/7")) == 1


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (403, "Permission 'aiplatform.models.upload' denied.", "PERMISSION_DENIED: .* needs this permission"),
        (404, "The project was not found.", "NOT_FOUND: .* – check the name, --project and --region"),
        (409, "The model exists.", "ALREADY_EXISTS: .* – choose another name"),
        (429, "Quota exceeded.", "RESOURCE_EXHAUSTED: .* – ask for more quota"),
    ],
)
def test_a_refusal_by_gcloud_is_one_line(cloud: Cloud, status: int, message: str, expected: str) -> None:
    cloud.refuse("POST", ".*models:upload", status, message)
    with pytest.raises(CommandError, match=f"^gcloud ai models upload: {expected}") as caught:
        run("endpoint deploy", *UPLOAD)
    assert message.rstrip(".") in str(caught.value)
    assert "\n" not in str(caught.value)
    # Nothing goes on after it.
    assert len(cloud.requests) == len(cloud.sent("POST", ".*models:upload"))


def test_exit_codes(cloud: Cloud, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def launched(*argv: str) -> tuple[int, list[str]]:
        code = main(["endpoint", "update", *WHERE, "--endpoint=3", *argv], {}, tmp_path / "launch.env")
        return code, capsys.readouterr().err.splitlines()

    cloud.refuse("GET", ".*/endpoints/3", 404, "Endpoint 3 is not found.")
    code, (said,) = launched("--max-replicas=6")
    assert code == 1
    assert said.startswith(
        "gcloud ai endpoints describe: NOT_FOUND: Endpoint 3 is not found – check the name"
    )
    code, (said,) = launched()
    assert code == 2
    assert said.startswith("nothing to change")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (403, "PERMISSION_DENIED: no – the account"),
        (404, "NOT_FOUND: no – check"),
        (409, "ALREADY_EXISTS: no – choose"),
        (429, "RESOURCE_EXHAUSTED: no – ask for more quota"),
    ],
)
def test_a_refusal_by_rest_is_one_line(
    cloud: Cloud, status: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.refuse("POST", ".*/endpoints", status, "no")
    caller = rest.Rest(Shell(dry_run=False), PROJECT, REGION, poll_s=0.01)
    monkeypatch.setattr(Shell, "run", lambda shell, argv: "token\n")
    with pytest.raises(CommandError, match=f"^making it: {expected}"):
        caller.change("making it", "v1", "endpoints", {})


def test_an_operation_that_fails_is_told(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"code": 8, "message": "RESOURCE_EXHAUSTED: no\nL4 left"}
    cloud.answer("POST", ".*:deployModel", {"name": "operations/1", "done": True, "error": error})
    caller = rest.Rest(Shell(dry_run=False), PROJECT, REGION, poll_s=0.01)
    monkeypatch.setattr(Shell, "run", lambda shell, argv: "token\n")
    with pytest.raises(
        CommandError, match=r"^deploying: RESOURCE_EXHAUSTED: no L4 left – ask for more quota"
    ):
        caller.change("deploying", "v1", "endpoints/1:deployModel", {})


def test_an_operation_is_not_waited_for_without_end(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.answer("POST", ".*:deployModel", {"name": "operations/1"})
    monkeypatch.setattr(rest, "OPERATION_WAIT_S", -1.0)
    monkeypatch.setattr(Shell, "run", lambda shell, argv: "token\n")
    caller = rest.Rest(Shell(dry_run=False), PROJECT, REGION, poll_s=0.01)
    with pytest.raises(
        CommandError, match="^deploying: not done after .* it goes on without us: operations/1"
    ):
        caller.change("deploying", "v1", "endpoints/1:deployModel", {})
