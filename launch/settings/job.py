"""The settings of the commands on the image and on jobs, a class for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from launch.settings import parsers
from launch.settings.common import (
    Confirmation,
    GpuImageSettings,
    Location,
    Marks,
    ServingImageSettings,
    Settings,
)
from launch.settings.machines import Gpu, parse_gpu
from launch.settings.setting import setting, switch, word
from pipeline.options.job_options import ENDPOINT, LOCAL
from pipeline.options.values import boolean, integer, one_of

CPU = "cpu"
GPU = "gpu"
DOCKER = "docker"
CLOUD_BUILD = "cloud-build"
MPS = "mps"
SINGLE_PROCESS = "single-process"
NO_SHARING = "none"
# Dataflow's two streaming modes: https://cloud.google.com/dataflow/docs/guides/streaming-modes
AT_LEAST_ONCE = "at-least-once"
EXACTLY_ONCE = "exactly-once"
KEEP = "keep"

_MIN_WORKERS = "Fewest workers, 1 to 1,000."
_MAX_WORKERS = "Most workers, 1 to 1,000."
_workers = integer(1, 1_000)
_UTILIZATION_HINT = "CPU utilisation that autoscaling aims at, 0.1 to 0.9, or none for the service's own."


@dataclass(frozen=True, kw_only=True)
class StorageSettings(Location):
    """Where a project keeps its files and its image."""

    bucket: str = setting(
        parsers.gs_path,
        "gs://BUCKET, or a folder in one: for staged and temporary files and for the template.",
        required=True,
    )
    image: str = setting(
        parsers.image,
        "Full name of the image, without tag: REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME.",
        required=True,
    )


@dataclass(frozen=True, kw_only=True)
class ImageSettings(StorageSettings):
    """Where the image and the template are, for the commands that write and for those that launch them."""

    tag: str = setting(
        parsers.tag,
        "Version of the image; -cpu or -gpu is appended. Take a new one for each build: a running job "
        "pulls its image again whenever a worker starts.",
        required=True,
    )
    template: str | None = setting(
        parsers.gs_object,
        "gs:// path of the template's spec. Default: templates/NAME-TAG-cpu.json or -gpu.json in --bucket.",
    )
    compiler: bool = switch(
        "The job's image has a C++ compiler, 0.3 GB of it: --compile=true of the job needs one. build puts "
        "it in; run, replace and smoke take your word.",
    )


@dataclass(frozen=True, kw_only=True)
class _Build(GpuImageSettings, ServingImageSettings, ImageSettings):
    variant: str = word(one_of(CPU, GPU), "cpu or gpu: which image.")
    model: str | None = setting(
        parsers.text,
        "The model file that the image holds, in the folder models/ of the checkout. Default: the example's.",
        flag_only=True,
    )
    serving: bool = switch(
        "Build the endpoint's container, --serving-image, instead of the job's image; there is no spec then.",
        flag_only=True,
    )
    torch_index: str | None = setting(
        parsers.index,
        "URL of a further package index that has torch, such as a mirror of your own; pip then takes torch "
        "from it, in place of PyTorch's index of CPU builds.",
    )
    builder: str = setting(
        one_of(DOCKER, CLOUD_BUILD),
        "Who builds the image: docker on this machine, or cloud-build.",
        default=CLOUD_BUILD,
    )


@dataclass(frozen=True, kw_only=True)
class BuildSettings(Settings, _Build):
    """Of `build`."""


@dataclass(frozen=True, kw_only=True)
class LaunchSettings(Marks, GpuImageSettings, ImageSettings):
    """What `run`, `replace` and `smoke` share.

    Attributes:
        job_flags: Flags of the job itself, by name without dashes: what follows `--`.
    """

    mode: str = setting(
        one_of(LOCAL, ENDPOINT),
        "local: the model runs in the worker; endpoint: an endpoint makes the predictions.",
        default=LOCAL,
    )
    model_path: str | None = setting(
        parsers.model_path,
        "The model file, as the workers see it: its path inside the image, or gs://BUCKET/OBJECT.",
    )
    gpu: Gpu | None = setting(parse_gpu, "GPUs of each worker, as TYPE:COUNT: nvidia-l4:1.")
    gpu_sharing: str = setting(
        one_of(NO_SHARING, MPS, SINGLE_PROCESS),
        "How the processes of a worker share its GPU. none: each takes its turn; mps: at once, by NVIDIA "
        "MPS; single-process: there is one process (--worker_processes=single), with one copy of the model.",
        default=NO_SHARING,
    )
    delivery: str = setting(
        one_of(AT_LEAST_ONCE, EXACTLY_ONCE),
        "Dataflow's streaming mode. at-least-once: cheaper and faster, with a few more duplicates; "
        "exactly-once: the service removes duplicates of what it reads and passes on.",
        default=AT_LEAST_ONCE,
    )
    min_workers: int | None = setting(_workers, _MIN_WORKERS)
    max_workers: int | None = setting(_workers, _MAX_WORKERS)
    num_workers: int | None = setting(_workers, "Workers to begin with.")
    utilization_hint: float | str | None = setting(parsers.utilization_hint, _UTILIZATION_HINT)
    machine_type: str | None = setting(
        parsers.machine_type,
        "Machine type of the workers. Default: the smallest that takes --gpu; without, the service's own.",
    )
    disk_gb: int | None = setting(
        parsers.count,
        "Boot disk of a worker in GB. Default: 50 with --gpu; without, the service's own.",
    )
    harness_threads: int | None = setting(
        integer(1, 1_000),
        "Threads of each process: bundles it works on at once. Default: the service's own.",
    )
    launcher_machine_type: str | None = setting(
        parsers.machine_type,
        "Machine type on which the template is launched. Default: the service's own, n1-standard-1.",
    )
    worker_zone: str | None = setting(
        parsers.zone,
        "Zone of the workers, such as us-central1-a: not every zone of a region has every GPU.",
    )
    service_account: str | None = setting(parsers.email, "Account that the workers run as, by its email.")
    network: str | None = setting(parsers.text, "Compute Engine network of the workers.")
    subnetwork: str | None = setting(
        parsers.text,
        "Subnetwork of the workers: regions/REGION/subnetworks/NAME, or its whole URL.",
    )
    public_ips: bool = setting(
        boolean,
        "true or false: whether workers have public IP addresses. Without, the subnetwork needs Private "
        "Google Access.",
        default="true",
    )
    job_flags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Run(ImageSettings):
    job_name: str = setting(parsers.job_name, "Name of the job.", default="streaming-inference")


@dataclass(frozen=True, kw_only=True)
class RunSettings(Settings, LaunchSettings, _Run):
    """Of `run` and `smoke`."""


@dataclass(frozen=True, kw_only=True)
class _Replace(LaunchSettings):
    job: str = word(parsers.job_name, "The running job's name.")
    delivery: str = setting(
        one_of(AT_LEAST_ONCE, EXACTLY_ONCE, KEEP),
        "Dataflow's streaming mode: at-least-once, exactly-once, or keep: that of the running job.",
        default=KEEP,
        flag_only=True,
    )
    transform_name_mappings: dict[str, str] | None = setting(
        parsers.mappings,
        "Steps that were renamed since the running job: old=new,old=new.",
        flag_only=True,
    )


@dataclass(frozen=True, kw_only=True)
class ReplaceSettings(Settings, _Replace):
    """Of `replace`."""


@dataclass(frozen=True, kw_only=True)
class RunningJobSettings(Settings):
    """Of `status` and `drain`, and shared by all commands on a job that runs."""

    job: str = word(parsers.job, "The job's name or id.")


@dataclass(frozen=True, kw_only=True)
class CancelSettings(RunningJobSettings, Confirmation):
    """Of `cancel`."""


@dataclass(frozen=True, kw_only=True)
class _Update(Location):
    min_workers: int | None = setting(_workers, _MIN_WORKERS, flag_only=True)
    max_workers: int | None = setting(_workers, _MAX_WORKERS, flag_only=True)
    utilization_hint: float | str | None = setting(
        parsers.utilization_hint, _UTILIZATION_HINT, flag_only=True
    )
    delivery: str | None = setting(
        one_of(AT_LEAST_ONCE, EXACTLY_ONCE),
        "Refused: the streaming mode of a job changes with a new version only, by replace.",
        flag_only=True,
    )


@dataclass(frozen=True, kw_only=True)
class UpdateSettings(RunningJobSettings, _Update):
    """Of `update`."""
