"""--serving-args: the flags are those of the container, and a wrong one is refused before the upload."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from launch.commands.table import ENDPOINT_DEPLOY, parse
from launch.rules.endpoint import DEPLOY_RULES
from launch.rules.rule import problems
from launch.settings import serving_flags
from launch.settings.setting import SettingsError
from serving import flags, options
from tests.launch.endpoint.test_dry_run import UPLOAD, WHERE, run

STORAGE = {"AIP_STORAGE_URI": "gs://shop-models/m"}
# Of each flag, a value that the container takes, and one that it refuses, if there is one.
SAMPLES = {
    "host": ("127.0.0.1", None),
    "workers": ("4", "0"),
    "model_file": ("model.pt2", None),
    "model_pointer": ("gs://shop-models/current", "s3://shop-models/current"),
    "model_root": ("/models", "s3://shop-models"),
    "model_refresh_s": ("10", "0"),
    "model_class": ("my_models:Net", "Net"),
    "model_params": ('{"hidden": 16}', "16"),
    "input_shape": ("ids:int64:128,mask:int64:128", "3,224"),
    "max_batch_size": ("256", "none"),
    "max_batch_wait_ms": ("0", "-1"),
    "max_queue_size": ("64", "0"),
    "device": ("gpu", "cuda"),
    "precision": ("bf16", "int8"),
    "cuda_graphs": ("false", "no"),
    "predict_timeout_s": ("60", "0"),
    "load_timeout_s": ("600", "never"),
    "drain_s": ("0", None),
    "log_format": ("text", "xml"),
}
# Flags that are refused without these.
NEEDED = {"model_params": ["--model_class=my_models:Net"], "model_root": ["--model_pointer=current"]}


def test_the_flags_are_those_of_the_container() -> None:
    actions = flags.make_parser(cores=1)._actions
    declared = {text.removeprefix("--") for action in actions for text in action.option_strings}
    assert set(serving_flags.PARSERS) == declared - {"help", "-h"}


@pytest.mark.parametrize("name", serving_flags.PARSERS)
def test_it_refuses_what_the_container_refuses(name: str) -> None:
    right, wrong = SAMPLES[name]
    beside = NEEDED.get(name, [])
    options.parse([f"--{name}={right}", *beside], STORAGE)
    assert serving_flags.parse(f"--{name}='{right}'") == {name: right}
    assert serving_flags.parse(f"--{name} '{right}'") == {name: right}
    if wrong is not None:
        with pytest.raises(flags.OptionsError):
            options.parse([f"--{name}={wrong}", *beside], STORAGE)
        with pytest.raises(ValueError, match=f"^--{name}: "):
            serving_flags.parse(f"--{name}={wrong}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--input-shape=4", "--input-shape: the container has no such flag; did you mean --input_shape?"),
        ("--colour=red", "--colour: the container has no such flag; it has --host, "),
        ("4", "4: the container has no such flag"),
        ("--workers", "--workers: needs a value"),
        ("--workers --device=gpu", "--workers: needs a value"),
        ("--workers=1 --workers=2", "--workers: given twice"),
        ("--model_file='a", "No closing quotation"),
    ],
)
def test_a_mistake_is_told(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse(ENDPOINT_DEPLOY, [*WHERE.split(), f"--serving-args={text}"], {}, Path("no-launch.env"))
    assert str(error.value).startswith("--serving-args: ")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("flags", "said"),
    [("", True), ("--serving-args=--workers=2", True), ("--serving-args=--input_shape=4", False)],
)
def test_a_shape_that_is_missing_is_told(flags: str, said: bool) -> None:
    out = io.StringIO()
    run("endpoint deploy", f"{UPLOAD} {flags}", dry_run=True, out=out)
    assert (
        "--serving-args has no --input_shape: the container takes it from a .pt2" in out.getvalue()
    ) is said


def test_of_a_model_that_is_uploaded_already_nothing_is_said() -> None:
    out = io.StringIO()
    run("endpoint deploy", "--model=7", dry_run=True, out=out)
    assert "--input_shape" not in out.getvalue()


@pytest.mark.parametrize(
    ("refused", "said", "taken"),
    [
        ("--serving-args=--device=gpu", "--device=gpu needs --endpoint-gpu", "--serving-args=--device=auto"),
        (
            "--serving-args=--device=cpu --endpoint-gpu=nvidia-l4",
            "nothing would use the GPU",
            "--serving-args=--device=auto --endpoint-gpu=nvidia-l4",
        ),
        (
            "--endpoint-gpu=nvidia-tesla-v100",
            "--endpoint-gpu: nvidia-tesla-v100 needs torch for CUDA 12.6",
            "--endpoint-gpu=nvidia-tesla-v100 --gpu-torch=cu126",
        ),
        ("--endpoint-machine-type=t2a-standard-4", "is Arm", "--endpoint-machine-type=t2d-standard-4"),
        (
            "--endpoint-machine-type=ct5lp-hightpu-1t",
            "has GPUs or TPUs that the image does not run on",
            "--endpoint-machine-type=c2-standard-4",
        ),
        ("--traffic=10", "a new endpoint has no other model for the other 90", "--traffic=10 --endpoint=1"),
        (
            "--kms-key=projects/shop-keys/locations/europe-west1/keyRings/r/cryptoKeys/k",
            "it is in europe-west1, not in --region, us-central1",
            "--kms-key=projects/shop-keys/locations/us-central1/keyRings/r/cryptoKeys/k",
        ),
    ],
)
def test_what_a_deployment_would_fail_at_is_refused(refused: str, said: str, taken: str) -> None:
    def found(flags: str) -> list[str]:
        argv = [*WHERE.split(), *UPLOAD.split(), *flags.split()]
        return problems(DEPLOY_RULES, parse(ENDPOINT_DEPLOY, argv, {}, Path("no-launch.env")))

    (problem,) = found(refused)
    assert said in problem
    assert found(taken) == []
