"""metadata.json, the template's parameters, against the job's flags: both ways."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    WorkerOptions,
)

from launch.cloud.template import WORKER_PARAMETERS
from pipeline.job.command_line import BeamFlags
from pipeline.options.job_options import FLAGS, Flag

METADATA = json.loads((Path(__file__).parents[2] / "metadata.json").read_text())
PARAMETERS: dict[str, dict[str, Any]] = {row["name"]: row for row in METADATA["parameters"]}
NAMES = [flag.name for flag in FLAGS]

GOOD = {
    "input_subscription": [
        "projects/my-project/subscriptions/requests",
        "projects/a.com:my-project/subscriptions/x~1",
    ],
    "output_topic": ["projects/my-project/topics/results"],
    "dead_letter_topic": ["projects/my-project/topics/dead-letters"],
    "output_table": ["my-project:predictions.results", "a.com:my-project:d_1.t-1"],
    "inference_mode": ["local", "endpoint"],
    "model_path": ["/models/model.pt2", "/models/my model.pt2", "gs://bucket/model.pt2"],
    "model_class": ["my_package.models:Classifier"],
    "model_params": ["{}", '{"hidden": 16, "names": ["a"]}', ' {"a": {}} '],
    "model_pointer": ["/models/current.txt", "gs://bucket/models/current"],
    "model_root": ["/models", "gs://bucket/models/"],
    "model_refresh_s": ["0.5", "60"],
    "input_shape": ["30", "3x224x224", "ids:int64:4,mask:bool:4"],
    "decode_hook": ["my_package.hooks:decode"],
    "encode_hook": ["hooks:encode_2"],
    "allow_nan": ["true", "false"],
    "max_batch_size": ["1", "100000"],
    "max_batch_wait_ms": ["0", "2.5"],
    "inference_timeout_s": ["0.5", "300"],
    "device": ["cpu", "gpu", "auto"],
    "precision": ["fp32", "fp16", "bf16"],
    "compile": ["true", "false"],
    "cuda_graphs": ["true", "false"],
    "torch_threads": ["1", "64"],
    "worker_processes": ["per_cpu", "single"],
    "endpoint": ["4711", "projects/my-project/locations/us-central1/endpoints/4711"],
    "endpoint_location": ["us-central1", "northamerica-northeast2"],
    "endpoint_url": ["https://1.us-central1-2.prediction.vertexai.goog", "HTTP://127.0.0.1:8080/predict"],
    "endpoint_token_host": ["vertex.example.internal", "10.0.0.5"],
    "endpoint_protocol": ["predict", "raw", "triton"],
    "endpoint_model": ["autoencoder", "my_model.v2-1"],
    "endpoint_batch_size": ["32"],
    "endpoint_max_concurrency": ["1000"],
    "endpoint_timeout_s": ["0.5", "30"],
    "endpoint_deadline_s": ["120"],
    "endpoint_scale_up_wait_s": ["600"],
    "max_active_bundles_per_worker": ["7"],
    "publish_deadline_s": ["60.25"],
    "run_for_s": ["1"],
}
# What both refuse. Some flags take more than a regex can tell of; those have none.
BAD = {
    "input_subscription": [
        "requests",
        "projects/my-project/topics/requests",
        "projects/p/subscriptions/x12",
        "",
    ],
    "output_topic": ["results", "projects/my-project/topics/1st"],
    "dead_letter_topic": ["projects/my-project/subscriptions/dead-letters"],
    "output_table": ["predictions.results", "my-project.predictions.results", "my-project:d.t.u"],
    "inference_mode": ["remote", "localendpoint"],
    "model_class": ["Classifier", "a.b:"],
    "model_refresh_s": ["-1", "1m"],
    "decode_hook": ["decode", "a.b:"],
    "encode_hook": ["hooks.py", "a: b"],
    "allow_nan": ["True", "1"],
    "max_batch_size": ["1e3", "-1"],
    "max_batch_wait_ms": ["-1", "1ms"],
    "inference_timeout_s": ["never"],
    "device": ["cuda", "tpu"],
    "precision": ["float32", "int8"],
    "compile": ["yes"],
    "cuda_graphs": ["auto"],
    "torch_threads": ["all"],
    "worker_processes": ["2", "per-cpu"],
    "endpoint_location": ["Belgium", "us central1"],
    "endpoint_url": ["127.0.0.1:8080", "ftp://host/x"],
    "endpoint_token_host": ["https://vertex.example.internal", "a/b", "10.0.0.5:443"],
    "endpoint_protocol": ["grpc"],
    "endpoint_model": ["a/b", "my model", ".."],
    "endpoint_batch_size": ["many"],
    "endpoint_max_concurrency": ["1.5"],
    "endpoint_timeout_s": ["-1", "1."],
    "endpoint_deadline_s": ["soon"],
    "endpoint_scale_up_wait_s": ["1e3"],
    "max_active_bundles_per_worker": ["all"],
    "publish_deadline_s": ["1m"],
    "run_for_s": ["5s"],
}


def fits(name: str, value: str) -> bool:
    # A parameter must match one of them, as a whole.
    regexes = PARAMETERS[name].get("regexes", [".*"])
    return any(re.fullmatch(regex, value) for regex in regexes)


def flag_named(name: str) -> Flag:
    return next(flag for flag in FLAGS if flag.name == name)


def test_every_flag_and_nothing_else() -> None:
    assert list(PARAMETERS) == [*NAMES, *WORKER_PARAMETERS]
    assert len(METADATA["parameters"]) == len(PARAMETERS)
    assert METADATA["streaming"] is True


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_a_parameter_says_what_its_flag_says(flag: Flag) -> None:
    row = PARAMETERS[flag.name]
    assert row["helpText"] == flag.help
    assert row["isOptional"] is not flag.required
    # A default fills the console's form, and would count as given: the model's own file would not be asked.
    assert row.get("defaultValue") == (None if flag.name == "input_shape" else flag.default)
    assert row["label"]
    if row["paramType"] == "ENUM":
        for option in row["enumOptions"]:
            flag.parse(option["value"])


@pytest.mark.parametrize("name", NAMES)
def test_what_the_flag_takes_fits(name: str) -> None:
    default = flag_named(name).default
    for value in [*GOOD[name], *([default] if default is not None else [])]:
        flag_named(name).parse(value)
        assert fits(name, value), value
        options = PipelineOptions([f"--{name}={value}"])
        assert getattr(options.view_as(BeamFlags), name) == value


@pytest.mark.parametrize("name", [name for name in NAMES if "regexes" in PARAMETERS.get(name, {})])
def test_what_does_not_fit_the_flag_refuses(name: str) -> None:
    for value in BAD[name]:
        assert not fits(name, value), value
        with pytest.raises(ValueError, match=r"\S"):
            flag_named(name).parse(value)


@pytest.mark.parametrize("name", PARAMETERS)
def test_an_optional_parameter_may_be_empty(name: str) -> None:
    """As tools write one that is not given; the job takes it for that."""
    assert fits(name, "") is PARAMETERS[name]["isOptional"]


def test_regexes_are_plain() -> None:
    """The documentation calls them POSIX egrep: no backslashes in sets, no (?…), no repetition above 255."""
    for name, row in PARAMETERS.items():
        for regex in row.get("regexes", []):
            assert "\\" not in regex, name
            assert "(?" not in regex, name
            assert all(int(most) <= 255 for most in re.findall(r"(\d+)\}", regex)), name


def test_worker_parameters_reach_beam() -> None:
    given = {
        "sdk_container_image": "us-central1-docker.pkg.dev/my-project/inference/worker:1-gpu",
        "dataflow_service_options": "min_num_workers=2,worker_accelerator=type:nvidia-l4;count:1",
        "disk_size_gb": "50",
        "number_of_worker_harness_threads": "4",
    }
    assert set(given) == set(WORKER_PARAMETERS)
    assert all(fits(name, value) and PARAMETERS[name]["isOptional"] for name, value in given.items())
    options = PipelineOptions([f"--{name}={value}" for name, value in given.items()])
    workers = options.view_as(WorkerOptions)
    assert (workers.sdk_container_image, workers.disk_size_gb) == (given["sdk_container_image"], 50)
    assert options.view_as(GoogleCloudOptions).dataflow_service_options == [
        "min_num_workers=2",
        "worker_accelerator=type:nvidia-l4;count:1",
    ]
    assert options.view_as(DebugOptions).number_of_worker_harness_threads == 4
