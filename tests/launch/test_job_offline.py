"""What Dataflow gets for each mode, GPU and way of sharing it: the Job and the graph, built offline."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from benchmarks.harness.staging import Staged, offline_flags, written
from broker import EmbeddedBroker
from launch.cloud.template import gcloud_flags, parameters
from launch.commands.table import RUN, parse
from pipeline.job.main import main
from tests.pipeline.job.test_command_line import ENDPOINT, line

pytestmark = pytest.mark.slow

IMAGE = "us-central1-docker.pkg.dev/my-project/inference/worker"
LAUNCH = (
    "--project=my-project",
    "--region=us-central1",
    "--bucket=gs://my-bucket",
    f"--image={IMAGE}",
    "--tag=1",
)
JOB = (
    "--input_subscription=projects/my-project/subscriptions/requests",
    "--output_topic=projects/my-project/topics/results",
    "--dead_letter_topic=projects/my-project/topics/dead-letters",
)
LOCAL_MODE = ("--mode=local", "--model-path=/models/model.pt2")
MACHINES = {
    "nvidia-l4:1": "g2-standard-4",
    "nvidia-tesla-t4:1": "n1-standard-4",
    "nvidia-tesla-a100:1": "a2-highgpu-1g",
    "nvidia-h100-80gb:1": "a3-highgpu-1g",
}
# The flag of Beam that the template launcher makes of a flag of `gcloud dataflow flex-template run`, whose
# `environment` it is: https://cloud.google.com/dataflow/docs/reference/rest/v1b3/FlexTemplateRuntimeEnvironment
# and https://cloud.google.com/dataflow/docs/reference/pipeline-options.
BEAM_FLAGS = {
    "num-workers": "num_workers",
    "max-workers": "max_num_workers",
    "worker-machine-type": "machine_type",
    "worker-zone": "worker_zone",
    "service-account-email": "service_account_email",
    "network": "network",
    "subnetwork": "subnetwork",
}
# The launch's own, and the places, for which folders stand here.
NOT_FOR_BEAM = {
    "project",
    "region",
    "template-file-gcs-location",
    "staging-location",
    "temp-location",
    "parameters",
}


def as_launched(*argv: str, job_flags: tuple[str, ...] = JOB) -> list[str]:
    """Return the command line that the template launcher starts the job with, but for project and places."""
    settings = parse(RUN, [*LAUNCH, *argv, "--", *job_flags], {}, Path("no-launch.env"))
    flags = [f"--{name}={value}" for name, value in parameters(settings).items()]
    for text in gcloud_flags(settings):
        name, _, value = text.removeprefix("--").partition("=")
        if name == "enable-streaming-engine":
            flags.append("--enable_streaming_engine")
        elif name == "disable-public-ips":
            flags.append("--no_use_public_ips")
        elif name == "additional-experiments":
            flags += [f"--experiments={experiment}" for experiment in value.split(",")]
        elif name not in NOT_FOR_BEAM:
            flags.append(f"--{BEAM_FLAGS[name]}={value}")
    return flags


@pytest.fixture(autouse=True)
def no_pubsub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have topics looked up where nothing listens; without it, credentials would be searched for."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")


def built(folder: Path, argv: Sequence[str]) -> Staged:
    """Return what the job's own main hands to the service."""
    assert main([*argv, *offline_flags(folder)]) == 0
    return written(folder)


def kinds(job: Staged) -> list[str]:
    urns = [transform.spec.urn for transform in job.proto.components.transforms.values()]
    return sorted(urn for urn in urns if urn.startswith("beam:transform:pubsub_"))


def options_of(job: Staged) -> dict[str, Any]:
    """Return the options as the workers get them."""
    return job.job["environment"]["sdkPipelineOptions"]["options"]


def check_graph(job: Staged, image: str) -> None:
    assert kinds(job) == ["beam:transform:pubsub_read:v1"] + 2 * ["beam:transform:pubsub_write:v1"]
    # One environment, the image's: between two nothing is fused, and hints would ask for other workers.
    (environment_id,) = set(job.leaves.values())
    environment = job.proto.components.environments[environment_id]
    assert beam_runner_api_pb2.DockerPayload.FromString(environment.payload).container_image == image
    assert not environment.resource_hints
    (pool,) = job.job["environment"]["workerPools"]
    assert pool["workerHarnessContainerImage"] == image
    assert [sdk["containerImage"] for sdk in pool["sdkHarnessContainerImages"]] == [image]


@pytest.mark.parametrize(
    ("gpu", "sharing"), list(itertools.product(MACHINES, ("none", "mps", "single-process")))
)
def test_gpu(gpu: str, sharing: str, tmp_path: Path) -> None:
    job = built(tmp_path, as_launched(*LOCAL_MODE, f"--gpu={gpu}", f"--gpu-sharing={sharing}"))
    check_graph(job, f"{IMAGE}:1-gpu")
    environment = job.job["environment"]
    (pool,) = environment["workerPools"]
    assert (pool["machineType"], pool["diskSizeGb"]) == (MACHINES[gpu], 50)
    kind, count = gpu.split(":")
    mps = ";use_nvidia_mps" if sharing == "mps" else ""
    assert environment["serviceOptions"] == [
        "streaming_mode_at_least_once",
        f"worker_accelerator=type:{kind};count:{count};install-nvidia-driver{mps}",
    ]
    experiments = environment["experiments"]
    assert {"use_runner_v2", "enable_streaming_engine"} <= set(experiments)
    single = sharing == "single-process"
    assert ("no_use_multiple_sdk_containers" in experiments) is single
    assert ("use_multiple_sdk_containers" in experiments) is not single
    # A worker without a usable GPU fails; it does not compute on its CPU.
    assert options_of(job)["device"] == "gpu"


def test_one_process_of_the_cpu(tmp_path: Path) -> None:
    job = built(tmp_path, as_launched(*LOCAL_MODE, job_flags=(*JOB, "--worker_processes=single")))
    experiments = job.job["environment"]["experiments"]
    assert "no_use_multiple_sdk_containers" in experiments
    assert "use_multiple_sdk_containers" not in experiments
    # What the workers read: the model's threads go by it.
    assert options_of(job)["worker_processes"] == "single"


@pytest.mark.parametrize(
    ("mode", "job_flags"),
    [
        (LOCAL_MODE, JOB),
        (("--mode=endpoint",), (*JOB, "--endpoint=4711", "--endpoint_location=us-central1")),
    ],
    ids=["local", "endpoint"],
)
def test_without_a_gpu(mode: tuple[str, ...], job_flags: tuple[str, ...], tmp_path: Path) -> None:
    workers = (
        "--min-workers=2",
        "--num-workers=3",
        "--max-workers=10",
        "--utilization-hint=0.6",
        "--machine-type=n2-standard-4",
        "--disk-gb=40",
        "--harness-threads=24",
        "--public-ips=false",
        "--service-account=worker@my-project.iam.gserviceaccount.com",
    )
    job = built(tmp_path, as_launched(*mode, *workers, job_flags=job_flags))
    check_graph(job, f"{IMAGE}:1-cpu")
    environment = job.job["environment"]
    (pool,) = environment["workerPools"]
    assert job.job["type"] == "JOB_TYPE_STREAMING"
    assert (pool["machineType"], pool["diskSizeGb"]) == ("n2-standard-4", 40)
    assert (pool["numWorkers"], pool["autoscalingSettings"]["maxNumWorkers"]) == (3, 10)
    assert pool["numThreadsPerWorker"] == 24
    assert pool["ipConfiguration"] == "WORKER_IP_PRIVATE"
    assert environment["serviceAccountEmail"] == "worker@my-project.iam.gserviceaccount.com"
    # No accelerator, in endpoint mode above all.
    assert environment["serviceOptions"] == [
        "streaming_mode_at_least_once",
        "min_num_workers=2",
        "worker_utilization_hint=0.6",
    ]
    assert "enable_streaming_engine" in environment["experiments"]


def test_left_to_the_service(tmp_path: Path) -> None:
    job = built(tmp_path, as_launched(*LOCAL_MODE))
    (pool,) = job.job["environment"]["workerPools"]
    unset = {"machineType", "diskSizeGb", "numWorkers", "numThreadsPerWorker", "ipConfiguration"}
    assert not unset & set(pool)


@pytest.mark.parametrize(
    ("flags", "options", "experiment"),
    [
        ((), ["streaming_mode_at_least_once"], "streaming_mode_at_least_once"),
        (("--delivery=exactly-once",), [], "streaming_mode_exactly_once"),
    ],
    ids=["by default", "exactly once"],
)
def test_streaming_mode(flags: tuple[str, ...], options: list[str], experiment: str, tmp_path: Path) -> None:
    """No option of a mode is exactly once; from the experiment, the service takes that of a template."""
    environment = built(tmp_path, as_launched(*LOCAL_MODE, *flags)).job["environment"]
    assert environment.get("serviceOptions", []) == options
    modes = [name for name in environment["experiments"] if name.startswith("streaming_mode_")]
    assert modes == [experiment]
    # At least once requires it.
    assert "enable_streaming_engine" in environment["experiments"]


# Runs the job's main with every way out of Python closed, which leaves gRPC's, to Pub/Sub. In endpoint mode
# without torch, too. (In local mode there is nothing to win: where torch is installed, Beam's RunInference
# imports it.)
LAUNCHER = """
import os
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        print("contacted", event, arguments[-1], file=sys.stderr, flush=True)
        os._exit(9)

sys.addaudithook(refuse)
if "--inference_mode=endpoint" in sys.argv:
    sys.modules["torch"] = None
from pipeline.job.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("mode", [{}, ENDPOINT], ids=["local", "endpoint"])
def test_the_launcher_loads_no_model_and_contacts_pubsub_only(mode: dict[str, str], tmp_path: Path) -> None:
    # A model that is only in the image, and an endpoint that does not exist.
    flags = line(
        **{**mode, "model_path": "/no/such/model.pt2"}, output_table="my-project:predictions.results"
    )
    with EmbeddedBroker() as broker:
        # It may look nothing up, which does not end a launch.
        broker.faults.fail("GetTopic", grpc.StatusCode.PERMISSION_DENIED, times=2)
        broker.faults.fail("GetSubscription", grpc.StatusCode.PERMISSION_DENIED)
        ended = _launched([*flags, *offline_flags(tmp_path)], broker)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("PERMISSION_DENIED") == 3
    assert written(tmp_path).job["type"] == "JOB_TYPE_STREAMING"


def test_the_launcher_refuses_topics_that_do_not_exist(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        ended = _launched([*line(**ENDPOINT), *offline_flags(tmp_path)], broker)
    assert ended.returncode == 2
    assert [text.partition(":")[0] for text in ended.stderr.splitlines()] == [
        "--output_topic",
        "--dead_letter_topic",
    ]


def _launched(flags: list[str], broker: EmbeddedBroker) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LAUNCHER, *flags],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PUBSUB_EMULATOR_HOST": broker.address},
        capture_output=True,
        text=True,
    )
