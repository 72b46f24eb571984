"""What Dataflow is given for which settings."""

from __future__ import annotations

import pytest

from launch.cloud import gcloud
from launch.cloud import template as job
from launch.commands.command import Command
from launch.commands.table import RUN, SMOKE
from launch.settings.job import RunSettings
from launch.settings.setting import SettingsError
from tests.launch.conftest import Make


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        ([], []),
        (["--max-workers=9"], []),
        (["--min-workers=2", "--max-workers=9"], ["min_num_workers=2"]),
        (["--utilization-hint=0.60"], ["worker_utilization_hint=0.6"]),
        (["--utilization-hint=none"], []),
        (["--gpu=nvidia-l4"], ["worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver"]),
        (
            ["--gpu=nvidia-l4", "--gpu-sharing=mps"],
            ["worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver;use_nvidia_mps"],
        ),
        (["--min-workers=2", "--", "--dataflow_service_options=a,b=1"], ["min_num_workers=2", "a", "b=1"]),
    ],
)
@pytest.mark.parametrize(
    ("delivery", "mode"),
    [
        ([], ["streaming_mode_at_least_once"]),
        (["--delivery=at-least-once"], ["streaming_mode_at_least_once"]),
        # What a job without an option of a mode gets.
        (["--delivery=exactly-once"], []),
    ],
)
def test_service_options(
    settings: Make, argv: list[str], options: list[str], delivery: list[str], mode: list[str]
) -> None:
    launched = settings(RUN, *delivery, *argv)
    options = mode + options
    assert job.service_options(launched) == options
    assert job.parameters(launched).get("dataflow_service_options", "") == ",".join(options)


AT_LEAST_ONCE = "streaming_mode_at_least_once"


@pytest.mark.parametrize(
    ("argv", "experiments"),
    [
        ([], [AT_LEAST_ONCE]),
        (["--delivery=exactly-once"], ["streaming_mode_exactly_once"]),
        (["--gpu=nvidia-l4"], [AT_LEAST_ONCE, "use_runner_v2"]),
        # The job itself makes the experiment of its flag.
        (["--gpu=nvidia-l4", "--gpu-sharing=single-process"], [AT_LEAST_ONCE, "use_runner_v2"]),
        (["--gpu=nvidia-l4", "--", "--experiments=use_runner_v2,a"], [AT_LEAST_ONCE, "use_runner_v2", "a"]),
    ],
)
def test_experiments(settings: Make, argv: list[str], experiments: list[str]) -> None:
    launched = settings(RUN, *argv)
    assert job.experiments(launched) == experiments
    flag = [flag for flag in job.gcloud_flags(launched) if flag.startswith("--additional-experiments")]
    assert flag == [f"--additional-experiments={','.join(experiments)}"]


IMAGE = "us-docker.pkg.dev/shop-project/inference/worker:1"


@pytest.mark.parametrize(
    ("argv", "parameters"),
    [
        (["--model-path=/m.pt2"], {"inference_mode": "local", "model_path": "/m.pt2"}),
        # The other mode's setting may stand in launch.env: it is left out.
        (["--mode=endpoint", "--model-path=/m.pt2"], {"inference_mode": "endpoint"}),
        (["--", "--input_shape=3x4"], {"inference_mode": "local", "input_shape": "3x4"}),
        (
            ["--disk-gb=80", "--harness-threads=4"],
            {"inference_mode": "local", "disk_size_gb": "80", "number_of_worker_harness_threads": "4"},
        ),
    ],
)
def test_parameters(settings: Make, argv: list[str], parameters: dict[str, str]) -> None:
    expected = {
        **parameters,
        "sdk_container_image": f"{IMAGE}-cpu",
        "dataflow_service_options": "streaming_mode_at_least_once",
    }
    assert job.parameters(settings(RUN, *argv)) == expected


def test_a_gpu_brings_its_image_disk_and_machine(settings: Make) -> None:
    launched = settings(RUN, "--gpu=nvidia-l4:1")
    assert job.parameters(launched)["sdk_container_image"] == f"{IMAGE}-gpu"
    assert job.parameters(launched)["disk_size_gb"] == "50"
    assert "--worker-machine-type=g2-standard-4" in job.gcloud_flags(launched)
    assert "--template-file-gcs-location=gs://shop-bucket/templates/worker-1-gpu.json" in job.gcloud_flags(
        launched
    )
    larger = settings(RUN, "--gpu=nvidia-l4:1", "--disk-gb=200", "--machine-type=g2-standard-8")
    assert job.parameters(larger)["disk_size_gb"] == "200"
    assert "--worker-machine-type=g2-standard-8" in job.gcloud_flags(larger)


@pytest.mark.parametrize(
    ("argv", "parameters"),
    [
        (["--gpu=nvidia-l4"], {"device": "gpu"}),
        (["--gpu=nvidia-l4", "--", "--device=auto"], {"device": "auto"}),
        ([], {}),
        (["--mode=endpoint"], {}),
        (
            ["--gpu=nvidia-l4", "--gpu-sharing=single-process"],
            {"device": "gpu", "worker_processes": "single"},
        ),
        (["--gpu=nvidia-l4", "--gpu-sharing=mps"], {"device": "gpu"}),
        (["--", "--worker_processes=single"], {"worker_processes": "single"}),
    ],
)
def test_what_the_model_computes_on(settings: Make, argv: list[str], parameters: dict[str, str]) -> None:
    found = job.parameters(settings(RUN, *argv))
    assert {name: found[name] for name in ("device", "worker_processes") if name in found} == parameters


def test_gcloud_flags(settings: Make) -> None:
    launched = settings(
        RUN,
        "--min-workers=2",
        "--max-workers=9",
        "--num-workers=3",
        "--machine-type=n1-standard-2",
        "--worker-zone=us-central1-a",
        "--service-account=a@shop-project.iam.gserviceaccount.com",
        "--network=net",
        "--subnetwork=regions/us-central1/subnetworks/one",
        "--public-ips=false",
        "--template=gs://elsewhere/spec.json",
    )
    assert job.gcloud_flags(launched) == [
        "--project=shop-project",
        "--region=us-central1",
        "--template-file-gcs-location=gs://elsewhere/spec.json",
        "--staging-location=gs://shop-bucket/staging",
        "--temp-location=gs://shop-bucket/temp",
        "--enable-streaming-engine",
        "--num-workers=3",
        "--max-workers=9",
        "--worker-machine-type=n1-standard-2",
        "--worker-zone=us-central1-a",
        "--service-account-email=a@shop-project.iam.gserviceaccount.com",
        "--network=net",
        "--subnetwork=regions/us-central1/subnetworks/one",
        "--disable-public-ips",
        "--additional-experiments=streaming_mode_at_least_once",
        f"--parameters=^~^inference_mode=local~sdk_container_image={IMAGE}-cpu~"
        "dataflow_service_options=streaming_mode_at_least_once,min_num_workers=2",
    ]


@pytest.mark.parametrize("command", [RUN, SMOKE], ids=lambda command: command.name)
def test_streaming_engine_is_always_on(settings: Make, command: Command[RunSettings]) -> None:
    assert "--enable-streaming-engine" in job.gcloud_flags(settings(command))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["a=1", "b=2"], "a=1,b=2"),
        (["a=1,2", "b=2"], "^~^a=1,2~b=2"),
        (["a=1,2", "b=~"], "^|^a=1,2|b=~"),
        (["a=1,2;", "b=~|!#@%"], "^:^a=1,2;:b=~|!#@%"),
        (["^a^b"], "^~^^a^b"),
    ],
)
def test_lists_with_commas_get_another_delimiter(values: list[str], text: str) -> None:
    assert gcloud.comma_list(values) == text


def test_a_list_that_no_delimiter_fits() -> None:
    with pytest.raises(SettingsError, match="cannot be passed to gcloud"):
        gcloud.comma_list([",", "~|!#", "@%;:"])
