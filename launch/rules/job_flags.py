"""Rules on what follows `--`: the job's flags must not undo what its launch needs.

Sources: https://cloud.google.com/dataflow/docs/streaming-engine, https://cloud.google.com/dataflow/docs/runner-v2,
https://cloud.google.com/dataflow/docs/gpu/use-nvidia-mps, https://cloud.google.com/dataflow/docs/guides/right-fitting,
https://cloud.google.com/dataflow/docs/guides/enable-dataflow-prime, https://cloud.google.com/dataflow/docs/guides/flexrs,
https://cloud.google.com/dataflow/docs/guides/streaming-modes,
and DataflowRunner of Beam 2.77 (which experiments switch Runner v2 off).
"""

from __future__ import annotations

from collections.abc import Mapping

from launch.cloud.template import STREAMING_MODES
from launch.rules.rule import Rule
from launch.settings.command_line import LIST_OPTIONS
from launch.settings.job import AT_LEAST_ONCE, EXACTLY_ONCE, MPS, SINGLE_PROCESS, LaunchSettings
from launch.settings.parsers import names_object
from pipeline.options.job_options import FLAGS, LOCAL, PER_CPU, SINGLE
from pipeline.options.workers import ONE_PROCESS, PROCESS_PER_CPU

# The settings from which the launch makes flags of the job, by the flag.
_SETTINGS: Mapping[str, str] = {
    "inference_mode": "mode",
    "model_path": "model-path",
    "project": "project",
    "region": "region",
    "job_name": "job-name",
    "staging_location": "bucket",
    "temp_location": "bucket",
    "sdk_container_image": "image and --tag",
    "num_workers": "num-workers",
    "max_num_workers": "max-workers",
    "min_num_workers": "min-workers",
    "worker_utilization_hint": "utilization-hint",
    "worker_accelerator": "gpu",
    STREAMING_MODES[AT_LEAST_ONCE]: "delivery=at-least-once",
    STREAMING_MODES[EXACTLY_ONCE]: "delivery=exactly-once",
    "worker_machine_type": "machine-type",
    "machine_type": "machine-type",
    "disk_size_gb": "disk-gb",
    "number_of_worker_harness_threads": "harness-threads",
    "worker_zone": "worker-zone",
    "service_account_email": "service-account",
    "network": "network",
    "subnetwork": "subnetwork",
    "use_public_ips": "public-ips",
    "no_use_public_ips": "public-ips=false",
    "transform_name_mapping": "transform-name-mappings",
    "labels": "labels",
    "dataflow_kms_key": "kms-key",
}
_OWN_SERVICE_OPTIONS = (
    "min_num_workers",
    "max_num_workers",
    "worker_utilization_hint",
    "worker_accelerator",
    *STREAMING_MODES.values(),
)
# Flags with rules of their own.
_FLAGS_WITH_RULES = ("enable_streaming_engine", "flexrs_goal", *LIST_OPTIONS)
# Beam's flags by which a launch would install packages.
_PACKAGES = (
    "setup_file",
    "requirements_file",
    "extra_package",
    "extra_packages",
    "files_to_stage",
    "sdk_location",
    "prebuild_sdk_container_engine",
)
_WITHOUT_RUNNER_V2 = (
    "disable_portable_runner",
    "enable_streaming_java_runner",
    "disable_runner_v2",
    "disable_runner_v2_until_2023",
    "disable_runner_v2_until_v2.50",
    "disable_prime_runner_v2",
)
_WITHOUT_STREAMING_ENGINE = ("disable_streaming_engine", "disable_windmill_service")


def _listed(settings: LaunchSettings, name: str) -> list[str]:
    return settings.job_flags.get(name, "").split(",")


def _flag_of_a_setting(settings: LaunchSettings) -> str | None:
    found = [name for name in settings.job_flags if name in _SETTINGS]
    if not found:
        return None
    instead = ", ".join(
        f"--{name}" if _SETTINGS[name] == name else f"--{_SETTINGS[name]} instead of --{name}"
        for name in found
    )
    return f"after --: the launch sets this itself; give, before --, {instead}"


def _unknown_flag(settings: LaunchSettings) -> str | None:
    known = {flag.name for flag in FLAGS} | set(_SETTINGS) | set(_FLAGS_WITH_RULES) | set(_PACKAGES)
    found = [f"--{name}" for name in settings.job_flags if name not in known]
    if not found:
        return None
    return (
        f"after --: {', '.join(found)}: no flag of the job (python -m pipeline --help), and the template "
        "declares no other; settings of the launch come before --"
    )


def _packages(settings: LaunchSettings) -> str | None:
    found = [f"--{name}" for name in settings.job_flags if name in _PACKAGES]
    if not found:
        return None
    return (
        f"after --: {', '.join(found)}: nothing is installed at a launch. Packages and code of yours go into "
        "the image, which launcher and workers share: docs/your-own-model.md shows the few lines"
    )


def _pointer_without_object(settings: LaunchSettings) -> str | None:
    pointer = settings.job_flags.get("model_pointer", "")
    if not pointer.startswith("gs://") or names_object(pointer):
        return None
    return f"after --: --model_pointer: {pointer} names no object: gs://BUCKET/OBJECT"


def _own_service_option(settings: LaunchSettings) -> str | None:
    names = [option.partition("=")[0] for option in _listed(settings, "dataflow_service_options")]
    found = [name for name in names if name in _OWN_SERVICE_OPTIONS]
    if not found:
        return None
    instead = ", ".join(f"--{_SETTINGS[name]} instead of {name}" for name in found)
    return f"--dataflow_service_options: the launch sets this itself; give, before --, {instead}"


def _mode_by_experiment(settings: LaunchSettings) -> str | None:
    found = [name for name in _listed(settings, "experiments") if name in STREAMING_MODES.values()]
    if not found:
        return None
    instead = ", ".join(f"--{_SETTINGS[name]} instead of {name}" for name in found)
    return f"--experiments: the launch sets the streaming mode itself; give, before --, {instead}"


def _without_streaming_engine(settings: LaunchSettings) -> str | None:
    off = [name for name in _listed(settings, "experiments") if name in _WITHOUT_STREAMING_ENGINE]
    switch = settings.job_flags.get("enable_streaming_engine")
    if switch is not None and switch.lower() != "true":
        off.append(f"--enable_streaming_engine={switch}")
    if not off:
        return None
    return (
        f"after --: {', '.join(off)}: without Streaming Engine a job has no worker range, no update while "
        "it runs and no --delivery=at-least-once; leave it out, it is always on here"
    )


def _streaming_engine_again(settings: LaunchSettings) -> str | None:
    if settings.job_flags.get("enable_streaming_engine", "").lower() != "true":
        return None
    return "after --: --enable_streaming_engine: it is always on here, and no flag of the job: leave it out"


def _without_runner_v2(settings: LaunchSettings) -> str | None:
    off = [name for name in _listed(settings, "experiments") if name in _WITHOUT_RUNNER_V2]
    if not off:
        return None
    return f"--experiments: {', '.join(off)}: custom images and GPUs need Runner v2: leave it out"


def _one_process(settings: LaunchSettings) -> str | None:
    """Return the flag that gives a worker one process for all its vCPUs; None if none does."""
    if settings.gpu_sharing == SINGLE_PROCESS:
        return f"--gpu-sharing={SINGLE_PROCESS}"
    asked = settings.job_flags.get("worker_processes") == SINGLE
    return f"--worker_processes={SINGLE}" if asked else None


def _mps_with_single_process(settings: LaunchSettings) -> str | None:
    listed = ONE_PROCESS if ONE_PROCESS in _listed(settings, "experiments") else None
    one = _one_process(settings) or listed
    if settings.gpu_sharing != MPS or not one:
        return None
    return (
        f"--gpu-sharing: mps lets several processes use the GPU, {one} allows one: "
        "take the one or the other (--gpu-sharing=single-process)"
    )


def _single_process_undone(settings: LaunchSettings) -> str | None:
    if settings.gpu_sharing != SINGLE_PROCESS or settings.job_flags.get("worker_processes") != PER_CPU:
        return None
    return "after --: --worker_processes=per_cpu contradicts --gpu-sharing=single-process: leave one out"


def _many_by_experiment(settings: LaunchSettings) -> str | None:
    one = _one_process(settings)
    if not one or PROCESS_PER_CPU not in _listed(settings, "experiments"):
        return None
    return f"--experiments: {PROCESS_PER_CPU} contradicts {one}: leave it out"


def _one_by_experiment(settings: LaunchSettings) -> str | None:
    if ONE_PROCESS not in _listed(settings, "experiments") or _one_process(settings):
        return None
    # With MPS, the rule on that says what is wrong.
    if settings.gpu_sharing == MPS:
        return None
    return f"--experiments: {ONE_PROCESS}: use --worker_processes=single, after --, instead"


def _gpu_that_is_not_there(settings: LaunchSettings) -> str | None:
    if settings.mode != LOCAL or settings.gpu or settings.job_flags.get("device") != "gpu":
        return None
    return "after --: --device=gpu: needs --gpu, before --: without it the workers have none"


def _gpu_unused(settings: LaunchSettings) -> str | None:
    if settings.mode != LOCAL or not settings.gpu or settings.job_flags.get("device") != "cpu":
        return None
    return (
        "after --: --device=cpu: nothing would use the GPU that --gpu pays for: leave it out, or --gpu "
        "(--gpu= if launch.env sets it)"
    )


def _right_fitting_with_gpu(settings: LaunchSettings) -> str | None:
    if not settings.gpu or "enable_streaming_rightfitting" not in _listed(settings, "experiments"):
        return None
    return (
        "--experiments: enable_streaming_rightfitting gives GPUs by resource hints and must not stand beside "
        "--gpu, which gives every worker one; this job has no such hints: leave it out"
    )


def _prime(settings: LaunchSettings) -> str | None:
    # Beam turns the experiment into the service option.
    found = [name for name in LIST_OPTIONS if "enable_prime" in _listed(settings, name)]
    if not found:
        return None
    return (
        f"--{found[0]}: enable_prime: Dataflow Prime ignores --machine-type, has no MPS and "
        "is not supported here: leave it out"
    )


def _flexrs(settings: LaunchSettings) -> str | None:
    if "flexrs_goal" not in settings.job_flags:
        return None
    return "after --: --flexrs_goal: FlexRS schedules batch jobs only, and this job streams: leave it out"


JOB_FLAG_RULES: tuple[Rule[LaunchSettings], ...] = (
    Rule("flag that a setting sets", _flag_of_a_setting),
    Rule("flag that the template does not declare", _unknown_flag),
    Rule("packages at a launch", _packages),
    Rule("pointer that names no object", _pointer_without_object),
    Rule("service option that a setting sets", _own_service_option),
    Rule("streaming mode by experiment", _mode_by_experiment),
    Rule("range or update without Streaming Engine", _without_streaming_engine),
    Rule("Streaming Engine asked for again", _streaming_engine_again),
    Rule("Runner v2 switched off", _without_runner_v2),
    Rule("MPS with a single process", _mps_with_single_process),
    Rule("single process undone", _single_process_undone),
    Rule("a process for each vCPU by experiment", _many_by_experiment),
    Rule("one process by experiment", _one_by_experiment),
    Rule("GPU asked of workers without", _gpu_that_is_not_there),
    Rule("GPU that nothing uses", _gpu_unused),
    Rule("right fitting with a GPU", _right_fitting_with_gpu),
    Rule("Dataflow Prime", _prime),
    Rule("FlexRS", _flexrs),
)
