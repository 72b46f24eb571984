"""The settings of `./launch.sh endpoint …`, a class for each command."""

from __future__ import annotations

from dataclasses import dataclass

from launch.settings import endpoint_parsers, parsers, serving_flags, triton_flags
from launch.settings.common import Confirmation, GpuImageSettings, Marks, ServingImageSettings, Settings
from launch.settings.endpoint_parsers import CPU, GPU_DUTY_CYCLE, PUBSUB_UNDELIVERED, REQUEST_COUNT
from launch.settings.machines import Gpu, parse_gpu
from launch.settings.setting import setting, switch
from pipeline.options.values import integer, one_of, resource

DEDICATED = "dedicated"
SHARED = "shared"

SERVING = "serving"
TRITON = "triton"

_MIN_REPLICAS = "Fewest replicas. Default of deploy: 1, with --scale-to-zero 0."
_MAX_REPLICAS = (
    "Most replicas; what they cannot carry is dropped. Default of deploy: --min-replicas, at least 1."
)
_SCALING_METRIC = (
    f"What the autoscaler aims at, METRIC=TARGET, several with commas: {CPU} and {GPU_DUTY_CYCLE} in "
    f"percent, {REQUEST_COUNT} of each replica, {PUBSUB_UNDELIVERED} (Preview) messages for each replica "
    "that --scaling-subscription has not delivered. Default: the service's own, 60 percent of CPU and, on "
    "GPUs, of their duty cycle."
)
_SCALING_SUBSCRIPTION = (
    f"The subscription that {PUBSUB_UNDELIVERED} counts: projects/PROJECT/subscriptions/NAME, that of the "
    "job's requests."
)
_DEPLOYED_MODEL = "Id of the deployed model. Default: the only one of the endpoint; undeploy takes all."
_replicas = integer(0, 1_000_000)
_max_replicas = integer(1, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class EndpointDeploySettings(Settings, Marks, GpuImageSettings, ServingImageSettings):
    """Of `endpoint deploy`."""

    endpoint: str | None = setting(
        endpoint_parsers.existing_id,
        "Id of an endpoint that exists. Default: one is made, with --endpoint-name as its id.",
    )
    endpoint_name: str = setting(
        endpoint_parsers.resource_id, "Id and name of the endpoint to make.", default="streaming-inference"
    )
    endpoint_kind: str = setting(
        one_of(DEDICATED, SHARED),
        "Kind of the endpoint to make. dedicated: an address of its own, apart from other users' traffic; "
        "shared: the region's common address.",
        default=DEDICATED,
    )
    model: str | None = setting(
        endpoint_parsers.existing_model,
        "Id of a model that is in the registry already; then nothing is uploaded.",
    )
    model_name: str = setting(
        endpoint_parsers.resource_id, "Id and name of the model to upload.", default="streaming-inference"
    )
    model_uri: str | None = setting(parsers.gs_path, "gs:// folder that holds the model file.")
    server: str = setting(
        one_of(SERVING, TRITON),
        "What --serving-image is. serving: this project's container; triton: NVIDIA's Triton Inference "
        "Server, with --model-uri the folder above its models (./launch.sh export triton makes one).",
        default=SERVING,
    )
    serving_args: dict[str, str] | None = setting(
        serving_flags.parse,
        "Flags of the container, in quotes: '--input_shape=3x224x224 --workers=4'. With --endpoint-gpu, "
        "--device=gpu is among them.",
    )
    triton_args: list[str] | None = setting(
        triton_flags.parse,
        "With --server=triton: flags of tritonserver, in quotes: '--vertex-ai-default-model=mine'. None is "
        "needed for a single model.",
    )
    shared_memory_mb: int | None = setting(
        integer(1, 1_000_000),
        "Shared memory (/dev/shm) of the container in MB, out of the replica's memory: Triton's Python "
        "backend passes tensors by it. Default: the service's own.",
    )
    startup_timeout_s: int | None = setting(
        parsers.count,
        "Seconds that the container may take to load its models, until its health route answers. Default: "
        "the service's own, 4 tries 10 s apart to open its port.",
    )
    deployment_timeout_s: int | None = setting(
        parsers.count,
        "Seconds that the deployment may take, with machine and image, up to 7200. Default: the service's "
        "own.",
    )
    endpoint_machine_type: str | None = setting(
        parsers.machine_type,
        "Machine type of a replica. Default: the smallest that takes --endpoint-gpu; without, n1-standard-4.",
    )
    endpoint_gpu: Gpu | None = setting(parse_gpu, "GPUs of each replica, as TYPE:COUNT: nvidia-l4:1.")
    endpoint_service_account: str | None = setting(
        parsers.email,
        "Account that the container runs as, by its email: what it reads with, as for --model_pointer. "
        "Default: one of Google's, without access to the project.",
    )
    min_replicas: int | None = setting(_replicas, _MIN_REPLICAS)
    max_replicas: int | None = setting(_max_replicas, _MAX_REPLICAS)
    scaling_metric: dict[str, int] | None = setting(endpoint_parsers.metrics, _SCALING_METRIC)
    scaling_subscription: str | None = setting(resource("subscription"), _SCALING_SUBSCRIPTION)
    traffic: int = setting(
        integer(0, 100),
        "Percent of the endpoint's requests for this model; the models that --endpoint has already share the "
        "rest as they did.",
        default="100",
        flag_only=True,
    )
    scale_to_zero: bool = switch(
        "Let the endpoint go to no replica at all while nobody asks (Preview). The first requests are then "
        "refused until one is up, which the job waits for."
    )
    initial_replicas: int | None = setting(
        _max_replicas,
        "With --scale-to-zero: replicas that the first request starts, and the deployment. Default: 1.",
    )
    min_scaleup_s: int | None = setting(
        parsers.count,
        "With --scale-to-zero: seconds it stays up at least, 300 to 28800. Default: the service's own, 3600.",
    )
    idle_scaledown_s: int | None = setting(
        parsers.count,
        "With --scale-to-zero: seconds without a request before it goes, 300 to 28800. Default: the "
        "service's own, 3600.",
    )


@dataclass(frozen=True, kw_only=True)
class EndpointUpdateSettings(Settings):
    """Of `endpoint update`."""

    endpoint: str = setting(endpoint_parsers.existing_id, "Id of the endpoint.", required=True)
    min_replicas: int | None = setting(_replicas, _MIN_REPLICAS, flag_only=True)
    max_replicas: int | None = setting(_max_replicas, _MAX_REPLICAS, flag_only=True)
    scaling_metric: dict[str, int] | None = setting(endpoint_parsers.metrics, _SCALING_METRIC, flag_only=True)
    scaling_subscription: str | None = setting(
        resource("subscription"), _SCALING_SUBSCRIPTION, flag_only=True
    )
    deployed_model: str | None = setting(endpoint_parsers.deployed_model, _DEPLOYED_MODEL, flag_only=True)
    traffic_split: dict[str, int] | None = setting(
        endpoint_parsers.traffic_split,
        "Percent of the requests for each deployed model: ID=PERCENT,ID=PERCENT. One that is not named gets "
        "none.",
        flag_only=True,
    )


@dataclass(frozen=True, kw_only=True)
class EndpointUndeploySettings(Settings, Confirmation):
    """Of `endpoint undeploy`."""

    endpoint: str = setting(endpoint_parsers.existing_id, "Id of the endpoint.", required=True)
    deployed_model: str | None = setting(endpoint_parsers.deployed_model, _DEPLOYED_MODEL, flag_only=True)
    delete: bool = switch("Delete the endpoint and the models it served, too.", flag_only=True)
