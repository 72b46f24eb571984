"""What is refused of an endpoint's settings, and that its neighbour is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launch.commands.command import Command, S
from launch.commands.table import ENDPOINT_DEPLOY, ENDPOINT_UPDATE, command_named, parse
from launch.rules.endpoint import DEPLOY_RULES, UPDATE_RULES, deploy_problems, update_problems
from launch.rules.rule import problems
from launch.settings.setting import SettingsError

WHERE = ("--project=shop-project", "--region=us-central1")
UPLOAD = (
    "--model-uri=gs://shop-models/m --serving-image=us-central1-docker.pkg.dev/shop-project/images/serving:1"
)


def settings(command: Command[S], flags: str) -> S:
    return parse(command, [*WHERE, *flags.split()], {}, Path("no-launch.env"))


def deploy(flags: str) -> list[str]:
    return problems(DEPLOY_RULES, settings(ENDPOINT_DEPLOY, f"{UPLOAD} {flags}"))


@pytest.mark.parametrize(
    ("refused", "said", "taken"),
    [
        (
            "--min-replicas=3 --max-replicas=2",
            "3 is above --max-replicas, 2",
            "--min-replicas=3 --max-replicas=3",
        ),
        ("--min-replicas=0", "0 needs --scale-to-zero", "--min-replicas=0 --scale-to-zero"),
        (
            "--scale-to-zero --min-replicas=1",
            "needs --min-replicas=0, not 1",
            "--scale-to-zero --max-replicas=4",
        ),
        (
            "--scale-to-zero --endpoint-kind=shared",
            "a shared endpoint never goes to zero",
            "--scale-to-zero --endpoint-kind=dedicated",
        ),
        ("--min-scaleup-s=600", "no effect without --scale-to-zero", "--scale-to-zero --min-scaleup-s=600"),
        ("--scale-to-zero --min-scaleup-s=299", "299 is outside 300", "--scale-to-zero --min-scaleup-s=300"),
        (
            "--scale-to-zero --idle-scaledown-s=28801",
            "28801 is outside 300 to 28800",
            "--scale-to-zero --idle-scaledown-s=28800",
        ),
        (
            "--endpoint-gpu=nvidia-l4:1 --endpoint-machine-type=n1-standard-8",
            "nvidia-l4 is found on G2 machines only",
            "--endpoint-gpu=nvidia-l4:1 --endpoint-machine-type=g2-standard-8",
        ),
        (
            "--endpoint-gpu=nvidia-tesla-t4:1 --endpoint-machine-type=g2-standard-8",
            "nvidia-tesla-t4 is found on N1 machines only",
            "--endpoint-gpu=nvidia-tesla-t4:1 --endpoint-machine-type=n1-standard-8",
        ),
        (
            "--endpoint-machine-type=g2-standard-24",
            "add --endpoint-gpu=nvidia-l4:2",
            "--endpoint-machine-type=g2-standard-24 --endpoint-gpu=nvidia-l4:2",
        ),
        (
            "--endpoint-machine-type=e2-medium",
            "endpoints do not run on e2-medium",
            "--endpoint-machine-type=e2-standard-2",
        ),
        (
            "--scaling-metric=gpu-duty-cycle=60",
            "gpu-duty-cycle needs GPUs",
            "--scaling-metric=gpu-duty-cycle=60 --endpoint-gpu=nvidia-l4:1",
        ),
        ("--scaling-metric=cpu-usage=101", "cpu-usage=101 is a percentage", "--scaling-metric=cpu-usage=100"),
        (
            "--scaling-metric=cpu-usage=50,gpu-duty-cycle=101 --endpoint-gpu=nvidia-l4",
            "gpu-duty-cycle=101 is a percentage",
            "--scaling-metric=request-counts-per-minute=6000",
        ),
    ],
)
def test_deploy(refused: str, said: str, taken: str) -> None:
    problem, *others = deploy(refused)
    assert said in problem
    assert others == []
    assert problem.startswith("--")
    assert deploy(taken) == []


def test_deploy_needs_a_model_from_one_side_and_only_one() -> None:
    def found(flags: str) -> list[str]:
        return problems(DEPLOY_RULES, settings(ENDPOINT_DEPLOY, flags))

    assert found(UPLOAD) == []
    assert found("--model=my-model@2") == []
    (missing,) = found("--model-uri=gs://shop-models/m")
    assert missing.startswith("--serving-image: missing; or name a model")
    (both,) = found(f"{UPLOAD} --model=7")
    assert "--model-uri, --serving-image would be ignored" in both


def test_all_problems_at_once() -> None:
    found = deploy("--min-replicas=3 --max-replicas=2 --scale-to-zero --endpoint-kind=shared")
    assert len(found) == 3


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("", "nothing to change"),
        ("--min-replicas=3 --max-replicas=2", "3 is above --max-replicas, 2"),
        ("--scaling-metric=cpu-usage=101", "is a percentage"),
        ("--min-replicas=3", None),
        ("--max-replicas=2", None),
        ("--scaling-metric=cpu-usage=50", None),
    ],
)
def test_update(flags: str, said: str | None) -> None:
    found = problems(UPDATE_RULES, settings(ENDPOINT_UPDATE, f"--endpoint=1 {flags}"))
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


TO_ZERO = {"dedicatedResources": {"maxReplicaCount": 1, "scaleToZeroSpec": {}}}
# As v1 shows it: without scaleToZeroSpec, and without the count that is 0.
TO_ZERO_IN_V1 = {"dedicatedResources": {"maxReplicaCount": 1}}
STAYS = {"dedicatedResources": {"minReplicaCount": 1, "maxReplicaCount": 4}}


@pytest.mark.parametrize(
    ("flags", "found", "said"),
    [
        ("--scale-to-zero", {"dedicatedEndpointEnabled": True}, None),
        ("--scale-to-zero", {}, "is a shared one"),
        (
            "--scale-to-zero",
            {"dedicatedEndpointEnabled": True, "deployedModels": [STAYS]},
            "1 deployed model(s)",
        ),
        ("", {"deployedModels": [STAYS]}, None),
        ("", {"deployedModels": [TO_ZERO]}, "scales to zero, which allows no second model"),
        ("", {"deployedModels": [TO_ZERO_IN_V1]}, "scales to zero, which allows no second model"),
    ],
)
def test_deploy_to_an_endpoint_that_exists(flags: str, found: dict[str, Any], said: str | None) -> None:
    chosen = settings(ENDPOINT_DEPLOY, f"{UPLOAD} --endpoint=1 {flags}")
    wrong = deploy_problems(chosen, found)
    assert len(wrong) == (said is not None)
    assert said is None or said in wrong[0]


@pytest.mark.parametrize(
    ("flags", "model", "said"),
    [
        ("--min-replicas=4", STAYS, None),
        ("--min-replicas=5", STAYS, "min-replicas would be 5 and max-replicas 4"),
        ("--min-replicas=5 --max-replicas=5", STAYS, None),
        ("--max-replicas=1", STAYS, None),
        ("--min-replicas=0", STAYS, "deployed with --scale-to-zero"),
        ("--min-replicas=0", TO_ZERO, None),
        ("--min-replicas=0", TO_ZERO_IN_V1, None),
        ("--scaling-metric=gpu-duty-cycle=50", STAYS, "needs GPUs, 5 has none"),
        (
            "--scaling-metric=gpu-duty-cycle=50",
            {"dedicatedResources": {"minReplicaCount": 1, "machineSpec": {"acceleratorCount": 1}}},
            None,
        ),
        ("--min-replicas=1", {"automaticResources": {}}, "no machines of its own"),
    ],
)
def test_update_of_what_is_deployed(flags: str, model: dict[str, Any], said: str | None) -> None:
    chosen = settings(ENDPOINT_UPDATE, f"--endpoint=1 {flags}")
    wrong = update_problems(chosen, {"id": "5", **model})
    assert len(wrong) == (said is not None)
    assert said is None or said in wrong[0]


@pytest.mark.parametrize(
    ("command", "flags", "said"),
    [
        ("endpoint deploy", "--scaling-metric=cpu=50", "'cpu=50' is not METRIC=TARGET"),
        ("endpoint deploy", "--scaling-metric=cpu-usage=0", "cpu-usage: '0' is not a whole number from 1"),
        ("endpoint deploy", "--scaling-metric=cpu-usage=5,cpu-usage=6", "cpu-usage is given twice"),
        ("endpoint deploy", "--serving-image=us-docker.pkg.dev/p/r/n", "has no tag"),
        ("endpoint deploy", "--serving-image=us-docker.pkg.dev/p/r/n:latest", "latest is refused"),
        ("endpoint deploy", "--serving-image=us-docker.pkg.dev/p/r/n@sha256:12", "has no tag"),
        ("endpoint deploy", "--endpoint-name=1a", "is not an id"),
        ("endpoint deploy", "--model=a/b", "is not the id of a model"),
        ("endpoint deploy", "--endpoint-gpu=nvidia-l4:3", "no machine has 3 nvidia-l4"),
        ("endpoint update", "--endpoint=projects/x", "is not the id of an endpoint"),
        ("endpoint update", "", "--endpoint: missing"),
        ("endpoint undeploy", "--endpoint=1 --deployed-model=a", "is not the id of a deployed model"),
    ],
)
def test_values(command: str, flags: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(command_named(command), flags)
    assert said in str(caught.value)


def test_an_image_by_digest() -> None:
    image = f"us-docker.pkg.dev/p/r/n@sha256:{'0a' * 32}"
    assert settings(ENDPOINT_DEPLOY, f"--serving-image={image}").serving_image == image
