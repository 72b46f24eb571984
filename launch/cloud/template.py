"""From the settings of a launch to what Dataflow gets: the template's parameters and gcloud's flags.

`gcloud dataflow flex-template run` has no flag for the image, the disk, the threads and the service options:
they go as parameters of the template, which metadata.json declares.
"""

from __future__ import annotations

from launch.cloud.gcloud import comma_list, label_list, where
from launch.settings.command_line import LIST_OPTIONS
from launch.settings.job import (
    AT_LEAST_ONCE,
    CPU,
    EXACTLY_ONCE,
    GPU,
    MPS,
    SINGLE_PROCESS,
    ImageSettings,
    LaunchSettings,
)
from launch.settings.machines import default_machine
from pipeline.options.job_options import LOCAL, SINGLE

# https://cloud.google.com/dataflow/docs/gpu/use-gpus: "increase the boot disk size to 50 gigabytes or more".
GPU_DISK_GB = 50
# What names a streaming mode in Dataflow's options: https://cloud.google.com/dataflow/docs/guides/streaming-modes
STREAMING_MODES = {
    AT_LEAST_ONCE: "streaming_mode_at_least_once",
    EXACTLY_ONCE: "streaming_mode_exactly_once",
}
# Parameters of the template that are Beam's own flags, not the job's; metadata.json declares them.
WORKER_PARAMETERS = (
    "sdk_container_image",
    "dataflow_service_options",
    "disk_size_gb",
    "number_of_worker_harness_threads",
)


def image(settings: ImageSettings, variant: str) -> str:
    """Return the full name of the image, with its tag; `variant`: cpu or gpu."""
    return f"{settings.image}:{settings.tag}-{variant}"


def template(settings: ImageSettings, variant: str) -> str:
    """Return the gs:// path of the template's spec; `variant`: cpu or gpu."""
    name = settings.image.rpartition("/")[2]
    return settings.template or f"{settings.bucket}/templates/{name}-{settings.tag}-{variant}.json"


def variant_of(settings: LaunchSettings) -> str:
    """Return which image a launch needs."""
    return GPU if settings.gpu else CPU


def machine_type(settings: LaunchSettings) -> str | None:
    """Return the machine type of the workers; None leaves it to the service."""
    if settings.machine_type is None and settings.gpu:
        return default_machine(settings.gpu)
    return settings.machine_type


def service_options(settings: LaunchSettings) -> list[str]:
    """Return Dataflow's service options.

    The minimum, the hint and the accelerator are among them: as plain flags of Beam they would be ignored.
    Exactly once is what a job without an option of a mode gets.
    """
    options = []
    if settings.delivery == AT_LEAST_ONCE:
        options.append(STREAMING_MODES[AT_LEAST_ONCE])
    if settings.min_workers is not None:
        options.append(f"min_num_workers={settings.min_workers}")
    if isinstance(settings.utilization_hint, float):
        options.append(f"worker_utilization_hint={settings.utilization_hint:g}")
    if settings.gpu:
        accelerator = f"type:{settings.gpu.type};count:{settings.gpu.count};install-nvidia-driver"
        if settings.gpu_sharing == MPS:
            accelerator += ";use_nvidia_mps"
        options.append(f"worker_accelerator={accelerator}")
    return options + _from_job_flags(settings, "dataflow_service_options")


def experiments(settings: LaunchSettings) -> list[str]:
    """Return Dataflow's experiments.

    The streaming mode is one of them, whichever it is: from an experiment the service takes the mode of a
    template's job; without one, the template's metadata decides.
    """
    found = [STREAMING_MODES[settings.delivery]]
    if settings.gpu:
        # GPUs need Runner v2: nothing may switch it off then.
        found.append("use_runner_v2")
    return list(dict.fromkeys(found + _from_job_flags(settings, "experiments")))


def parameters(settings: LaunchSettings) -> dict[str, str]:
    """Return the template's parameters: the job's flags, and what gcloud has no flag for."""
    found = {"inference_mode": settings.mode}
    if settings.mode == LOCAL and settings.model_path is not None:
        found["model_path"] = settings.model_path
    if settings.mode == LOCAL and settings.gpu:
        # With the job's default, auto, a worker whose driver does not fit would compute on its CPU.
        found["device"] = "gpu"
    if settings.gpu_sharing == SINGLE_PROCESS:
        found["worker_processes"] = SINGLE
    found |= {name: value for name, value in settings.job_flags.items() if name not in LIST_OPTIONS}
    # Workers run the very image that the launcher runs.
    found["sdk_container_image"] = image(settings, variant_of(settings))
    if options := service_options(settings):
        found["dataflow_service_options"] = ",".join(options)
    disk = settings.disk_gb or (GPU_DISK_GB if settings.gpu else None)
    if disk is not None:
        found["disk_size_gb"] = str(disk)
    if settings.harness_threads is not None:
        found["number_of_worker_harness_threads"] = str(settings.harness_threads)
    return found


def gcloud_flags(settings: LaunchSettings) -> list[str]:
    """Return the flags of `gcloud dataflow flex-template run`, without the job's name."""
    flags = [
        *where(settings),
        f"--template-file-gcs-location={template(settings, variant_of(settings))}",
        f"--staging-location={settings.bucket}/staging",
        f"--temp-location={settings.bucket}/temp",
        # Without it, neither the worker range nor the hint can be changed while the job runs.
        "--enable-streaming-engine",
    ]
    named = {
        "num-workers": settings.num_workers,
        "max-workers": settings.max_workers,
        "worker-machine-type": machine_type(settings),
        "launcher-machine-type": settings.launcher_machine_type,
        "worker-zone": settings.worker_zone,
        "service-account-email": settings.service_account,
        "network": settings.network,
        "subnetwork": settings.subnetwork,
        "dataflow-kms-key": settings.kms_key,
    }
    flags += [f"--{name}={value}" for name, value in named.items() if value is not None]
    if not settings.public_ips:
        flags.append("--disable-public-ips")
    if settings.labels:
        flags.append(f"--additional-user-labels={label_list(settings.labels)}")
    flags.append(f"--additional-experiments={comma_list(experiments(settings))}")
    flags.append(
        f"--parameters={comma_list(f'{name}={value}' for name, value in parameters(settings).items())}"
    )
    return flags


def _from_job_flags(settings: LaunchSettings, name: str) -> list[str]:
    """Return what the user added to one of Beam's lists."""
    return [part for part in settings.job_flags.get(name, "").split(",") if part]
