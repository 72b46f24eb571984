"""What Dataflow refuses, or ignores in silence, of a launch's or an update's settings; each with its reason.

Sources: https://cloud.google.com/dataflow/docs/gpu/gpu-support (disk, Runner v2, machines),
https://cloud.google.com/dataflow/docs/gpu/use-nvidia-mps, https://cloud.google.com/dataflow/docs/horizontal-autoscaling,
https://cloud.google.com/dataflow/docs/guides/updating-a-pipeline (range, hint),
https://cloud.google.com/dataflow/docs/guides/right-fitting, https://cloud.google.com/dataflow/docs/concepts/dataflow-vms,
https://cloud.google.com/dataflow/docs/guides/streaming-modes (mode of a running job).
"""

from __future__ import annotations

from launch.cloud import template as job
from launch.rules.encryption import key_elsewhere
from launch.rules.job_flags import JOB_FLAG_RULES
from launch.rules.rule import Rule
from launch.settings import machines
from launch.settings.job import KEEP, NO_SHARING, LaunchSettings, ReplaceSettings, UpdateSettings
from pipeline.options.job_options import ENDPOINT, LOCAL

# Of a streaming job with Streaming Engine, if no maximum is given.
DEFAULT_MOST_WORKERS = 100
LOWEST_HINT = 0.1
HIGHEST_HINT = 0.9


def _endpoint_with_gpu(settings: LaunchSettings) -> str | None:
    if settings.mode != ENDPOINT or not settings.gpu:
        return None
    return (
        "--gpu: in endpoint mode the workers compute nothing that a GPU speeds up, and you would pay for it; "
        "leave it out (--gpu= if launch.env sets it) and give the endpoint one: --endpoint-gpu"
    )


def _gpu_misfit(settings: LaunchSettings) -> str | None:
    if not settings.gpu or not settings.machine_type:
        return None
    reason = machines.misfit(settings.machine_type, settings.gpu)
    return f"--machine-type: {reason}" if reason else None


def _gpu_too_old(settings: LaunchSettings) -> str | None:
    if not settings.gpu:
        return None
    reason = machines.torch_misfit(settings.gpu, settings.gpu_torch)
    return f"--gpu: {reason}" if reason else None


def _compile_without_triton(settings: LaunchSettings) -> str | None:
    if settings.mode != LOCAL or not settings.gpu or settings.job_flags.get("compile") != "true":
        return None
    if machines.has_triton(settings.gpu):
        return None
    return f"after --: --compile=true: there is no compiler for {settings.gpu.type}: leave it out"


def _compile_without_compiler(settings: LaunchSettings) -> str | None:
    if settings.mode != LOCAL or settings.compiler or settings.job_flags.get("compile") != "true":
        return None
    return (
        "after --: --compile=true: it needs a C++ compiler, which the image has only if it was built with "
        f"one: ./launch.sh build {job.variant_of(settings)} --compiler, and --compiler here, before -- (or "
        "LAUNCH_COMPILER=true in launch.env for both)"
    )


def _gpu_left_out(settings: LaunchSettings) -> str | None:
    inside = machines.built_in_gpu(settings.machine_type or "")
    if inside is None or settings.gpu:
        return None
    if inside.count > 1:
        return (
            f"--machine-type: {settings.machine_type} comes with {inside.count} GPUs, and a worker computes "
            "on one at most: take a machine without, or with one"
        )
    return (
        f"--machine-type: {settings.machine_type} comes with GPUs, which get no driver unless they are asked "
        f"for: add --gpu={inside}, or take a machine without"
    )


def _accelerator_not_known(settings: LaunchSettings) -> str | None:
    machine = settings.machine_type or ""
    # With --gpu, it is a machine that does not fit that GPU.
    if settings.gpu or not machines.unknown_accelerator(machine):
        return None
    return (
        f"--machine-type: {machine} has GPUs or TPUs that the image does not run on, and you would pay for "
        "them: take n1-standard-2, or name a GPU by --gpu"
    )


def _launcher_not_supported(settings: LaunchSettings) -> str | None:
    machine = settings.launcher_machine_type or ""
    if not machines.is_arm(machine):
        return None
    return f"--launcher-machine-type: {machine} is Arm and the image is built for x86: take n1-standard-1"


def _machine_not_supported(settings: LaunchSettings) -> str | None:
    machine = settings.machine_type or ""
    if machines.has_shared_core(machine):
        return f"--machine-type: Dataflow does not support shared cores, as in {machine}: take n1-standard-2"
    if machines.is_arm(machine):
        return f"--machine-type: {machine} is Arm and the image is built for x86: take n1-standard-2"
    return None


def _sharing_without_gpu(settings: LaunchSettings) -> str | None:
    if settings.gpu or settings.gpu_sharing == NO_SHARING:
        return None
    return (
        f"--gpu-sharing: {settings.gpu_sharing} shares a GPU, and there is none: add --gpu, or leave it out"
    )


def _several_gpus(settings: LaunchSettings) -> str | None:
    if settings.mode != LOCAL or not settings.gpu or settings.gpu.count == 1:
        return None
    found = settings.gpu
    instead = f"--gpu={found.type}:1" if 1 in machines.counts(found.type) else "another GPU"
    return (
        f"--gpu: all processes of a worker compute on its first GPU, and you would pay for {found.count}: "
        f"take {instead}, and more workers"
    )


def _small_disk(settings: LaunchSettings) -> str | None:
    if not settings.gpu or settings.disk_gb is None or settings.disk_gb >= job.GPU_DISK_GB:
        return None
    return (
        f"--disk-gb: {settings.disk_gb} is too small for an image with CUDA: with --gpu take "
        f"{job.GPU_DISK_GB} or more"
    )


def _min_above_max(settings: LaunchSettings | UpdateSettings) -> str | None:
    fewest, most = settings.min_workers, settings.max_workers
    if fewest is None or most is None or fewest <= most:
        return None
    return f"--min-workers: {fewest} is above --max-workers, {most}"


def _min_above_default_max(settings: LaunchSettings) -> str | None:
    fewest = settings.min_workers
    if fewest is None or settings.max_workers is not None or fewest <= DEFAULT_MOST_WORKERS:
        return None
    return f"--min-workers: {fewest} is above {DEFAULT_MOST_WORKERS}, the default of --max-workers"


def _outside_the_range(settings: LaunchSettings) -> str | None:
    if settings.num_workers is None:
        return None
    if settings.min_workers is not None and settings.num_workers < settings.min_workers:
        return f"--num-workers: {settings.num_workers} is below --min-workers, {settings.min_workers}"
    if settings.max_workers is None and settings.num_workers > DEFAULT_MOST_WORKERS:
        return (
            f"--num-workers: {settings.num_workers} is above {DEFAULT_MOST_WORKERS}, "
            "the default of --max-workers"
        )
    if settings.max_workers is not None and settings.num_workers > settings.max_workers:
        return f"--num-workers: {settings.num_workers} is above --max-workers, {settings.max_workers}"
    return None


def _hint(settings: LaunchSettings | UpdateSettings) -> str | None:
    hint = settings.utilization_hint
    if not isinstance(hint, float) or LOWEST_HINT <= hint <= HIGHEST_HINT:
        return None
    return (
        f"--utilization-hint: {hint:g} is outside {LOWEST_HINT} to {HIGHEST_HINT}; it is a share of "
        "the CPUs, as in 0.6"
    )


def _zone_elsewhere(settings: LaunchSettings) -> str | None:
    zone = settings.worker_zone
    if zone is None or zone.rpartition("-")[0] == settings.region:
        return None
    return f"--worker-zone: {zone} is not in --region, {settings.region}: take a zone of that region"


def _subnetwork_elsewhere(settings: LaunchSettings) -> str | None:
    parts = (settings.subnetwork or "").split("/")
    if "regions" not in parts[:-1] or parts[parts.index("regions") + 1] == settings.region:
        return None
    return (
        f"--subnetwork: {settings.subnetwork} is not in --region, {settings.region}: take one of that region"
    )


def _subnetwork_without_region(settings: LaunchSettings) -> str | None:
    if settings.subnetwork is None or "regions/" in settings.subnetwork:
        return None
    return (
        f"--subnetwork: Dataflow takes no bare name: write regions/{settings.region}/subnetworks/"
        f"{settings.subnetwork}"
    )


def _mode_to_keep_in_a_dry_run(settings: ReplaceSettings) -> str | None:
    if not settings.dry_run or settings.delivery != KEEP:
        return None
    return (
        "--delivery: a dry run does not look up the running job's streaming mode, which a replacement keeps: "
        f"./launch.sh status {settings.job} shows it; give --delivery=at-least-once or exactly-once"
    )


def _mode_of_a_running_job(settings: UpdateSettings) -> str | None:
    if settings.delivery is None:
        return None
    return (
        "--delivery: update changes the range and the hint only, a job's streaming mode stays what it is; "
        f"a new version can have another: ./launch.sh replace {settings.job} --delivery={settings.delivery}"
    )


def _nothing_to_change(settings: UpdateSettings) -> str | None:
    asked = (settings.min_workers, settings.max_workers, settings.utilization_hint, settings.delivery)
    if any(value is not None for value in asked):
        return None
    return "nothing to change: give --min-workers, --max-workers or --utilization-hint"


LAUNCH_RULES: tuple[Rule[LaunchSettings], ...] = (
    Rule("endpoint mode with a GPU", _endpoint_with_gpu),
    Rule("GPU and machine that do not fit", _gpu_misfit),
    Rule("GPU that the image's torch does not run on", _gpu_too_old),
    Rule("compiling for a GPU without a compiler", _compile_without_triton),
    Rule("compiling in an image without a compiler", _compile_without_compiler),
    Rule("GPU machine without its GPU", _gpu_left_out),
    Rule("machine with an accelerator that is not known", _accelerator_not_known),
    Rule("launcher that the image does not run on", _launcher_not_supported),
    Rule("key outside the region", key_elsewhere),
    Rule("machine that Dataflow does not support", _machine_not_supported),
    Rule("sharing without a GPU", _sharing_without_gpu),
    Rule("several GPUs a worker", _several_gpus),
    Rule("disk too small for a GPU image", _small_disk),
    Rule("min above max", _min_above_max),
    Rule("min above the default max", _min_above_default_max),
    Rule("initial workers outside the range", _outside_the_range),
    Rule("hint outside 0.1 to 0.9", _hint),
    Rule("zone outside the region", _zone_elsewhere),
    Rule("subnetwork outside the region", _subnetwork_elsewhere),
    Rule("subnetwork without its region", _subnetwork_without_region),
    *JOB_FLAG_RULES,
)
REPLACE_RULES: tuple[Rule[ReplaceSettings], ...] = (
    *LAUNCH_RULES,
    Rule("mode to keep in a dry run", _mode_to_keep_in_a_dry_run),
)
UPDATE_RULES: tuple[Rule[UpdateSettings], ...] = (
    Rule("min above max", _min_above_max),
    Rule("hint outside 0.1 to 0.9", _hint),
    Rule("mode of a running job", _mode_of_a_running_job),
    Rule("nothing to change", _nothing_to_change),
)
