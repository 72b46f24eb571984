"""Each rule both ways: settings that break this rule only, and settings beside it that are fine."""

from __future__ import annotations

from typing import Any

import pytest

from launch.commands.table import RUN, command_named
from launch.rules.job import LAUNCH_RULES, REPLACE_RULES, UPDATE_RULES
from launch.rules.rule import Rule, problems
from tests.launch.conftest import Make

# smoke checks them itself, on the settings of the job that it launches.
RULES: dict[str, tuple[Rule[Any], ...]] = {
    **dict.fromkeys(("run", "smoke"), LAUNCH_RULES),
    "replace": REPLACE_RULES,
    "update": UPDATE_RULES,
}
# The rule, a command line that breaks it, part of what it says, and one that is close and fine.
CASES = [
    (
        "endpoint mode with a GPU",
        "run --mode=endpoint --gpu=nvidia-l4",
        "--gpu: in endpoint mode",
        "run --mode=endpoint --gpu=",
    ),
    (
        "GPU and machine that do not fit",
        "run --gpu=nvidia-l4 --machine-type=n1-standard-4",
        "nvidia-l4 is found on G2 machines only",
        "run --gpu=nvidia-l4 --machine-type=g2-standard-8",
    ),
    (
        "GPU and machine that do not fit",
        "run --gpu=nvidia-tesla-a100 --machine-type=g2-standard-4",
        "nvidia-tesla-a100 is found on A2 machines only",
        "run --gpu=nvidia-tesla-a100 --machine-type=a2-highgpu-1g",
    ),
    (
        "GPU and machine that do not fit",
        "run --gpu=nvidia-h100-80gb --machine-type=a2-highgpu-1g",
        "nvidia-h100-80gb is found on A3 machines only",
        "run --gpu=nvidia-h100-80gb --machine-type=a3-highgpu-1g",
    ),
    (
        "GPU and machine that do not fit",
        "run --gpu=nvidia-tesla-t4 --machine-type=n2-standard-4",
        "nvidia-tesla-t4 is found on N1 machines only",
        "run --gpu=nvidia-tesla-t4 --machine-type=n1-standard-8",
    ),
    (
        "GPU machine without its GPU",
        "run --machine-type=g2-standard-4",
        "add --gpu=nvidia-l4:1",
        "run --machine-type=g2-standard-4 --gpu=nvidia-l4:1",
    ),
    (
        "machine that Dataflow does not support",
        "run --machine-type=e2-micro",
        "does not support shared cores",
        "run --machine-type=e2-standard-2",
    ),
    (
        "machine that Dataflow does not support",
        "run --machine-type=t2a-standard-1",
        "is Arm",
        "run --machine-type=t2d-standard-1",
    ),
    (
        "GPU that the image's torch does not run on",
        "run --gpu=nvidia-tesla-v100",
        "--gpu: nvidia-tesla-v100 needs torch for CUDA 12.6 or older, --gpu-torch is pypi: take",
        "run --gpu=nvidia-tesla-v100 --gpu-torch=cu126",
    ),
    (
        "GPU that the image's torch does not run on",
        "replace job --gpu=nvidia-tesla-p100",
        "./launch.sh build gpu --gpu-torch=cu126",
        "replace job --gpu=nvidia-tesla-p100 --gpu-torch=cu118",
    ),
    (
        "GPU that the image's torch does not run on",
        "smoke --gpu=nvidia-tesla-p4 --gpu-torch=cu128",
        "--gpu-torch is cu128",
        "smoke --gpu=nvidia-tesla-t4",
    ),
    (
        "compiling for a GPU without a compiler",
        "run --compiler --gpu=nvidia-tesla-p100 --gpu-torch=cu126 -- --compile=true",
        "there is no compiler for nvidia-tesla-p100",
        "run --compiler --gpu=nvidia-tesla-v100 --gpu-torch=cu126 -- --compile=true",
    ),
    (
        "compiling in an image without a compiler",
        "run -- --compile=true",
        "./launch.sh build cpu --compiler, and --compiler here, before --",
        "run --compiler -- --compile=true",
    ),
    (
        "compiling in an image without a compiler",
        "replace job --gpu=nvidia-l4 -- --compile=true",
        "./launch.sh build gpu --compiler",
        "replace job --mode=endpoint -- --compile=true",
    ),
    (
        "machine with an accelerator that is not known",
        "run --machine-type=a3-ultragpu-8g",
        "a3-ultragpu-8g has GPUs or TPUs that the image does not run on",
        "run --machine-type=c3-standard-8",
    ),
    (
        "machine with an accelerator that is not known",
        "run --machine-type=ct5lp-hightpu-1t",
        "has GPUs or TPUs",
        "run --machine-type=g1-standard-1",
    ),
    (
        "launcher that the image does not run on",
        "run --launcher-machine-type=t2a-standard-1",
        "t2a-standard-1 is Arm",
        "run --launcher-machine-type=e2-standard-2",
    ),
    (
        "key outside the region",
        "run --kms-key=projects/my-keys/locations/global/keyRings/r/cryptoKeys/k",
        "--kms-key: it is in global, not in --region, us-central1",
        "run --kms-key=projects/my-keys/locations/us-central1/keyRings/r/cryptoKeys/k",
    ),
    *(
        (
            "packages at a launch",
            f"run -- --{flag}=x",
            f"--{flag}: nothing is installed at a launch",
            "run -- --input_shape=30",
        )
        for flag in ("setup_file", "requirements_file", "extra_package", "sdk_location")
    ),
    (
        "pointer that names no object",
        "run -- --model_pointer=gs://shop-bucket",
        "--model_pointer: gs://shop-bucket names no object",
        "run -- --model_pointer=gs://shop-bucket/current --model_root=gs://shop-bucket",
    ),
    ("sharing without a GPU", "run --gpu-sharing=mps", "add --gpu", "run --gpu-sharing=mps --gpu=nvidia-l4"),
    (
        "GPU machine without its GPU",
        "run --machine-type=g2-standard-24",
        "comes with 2 GPUs, and a worker computes on one at most",
        "run --machine-type=g2-standard-16 --gpu=nvidia-l4:1",
    ),
    (
        "several GPUs a worker",
        "run --gpu=nvidia-l4:4 --gpu-sharing=single-process",
        "you would pay for 4: take --gpu=nvidia-l4:1, and more workers",
        "run --gpu=nvidia-l4:1 --max-workers=4",
    ),
    (
        "several GPUs a worker",
        "smoke --gpu=nvidia-h100-mega-80gb:8",
        "take another GPU",
        "smoke --gpu=nvidia-h100-80gb",
    ),
    (
        "disk too small for a GPU image",
        "run --gpu=nvidia-l4 --disk-gb=49",
        "49 is too small",
        "run --gpu=nvidia-l4 --disk-gb=50",
    ),
    (
        "min above max",
        "run --min-workers=3 --max-workers=2",
        "3 is above --max-workers, 2",
        "run --min-workers=2 --max-workers=2",
    ),
    (
        "min above the default max",
        "run --min-workers=101",
        "the default of --max-workers",
        "run --min-workers=100",
    ),
    (
        "min above max",
        "update job --min-workers=3 --max-workers=2",
        "3 is above --max-workers",
        "update job --min-workers=101",
    ),
    (
        "initial workers outside the range",
        "run --num-workers=5 --max-workers=4",
        "5 is above --max-workers, 4",
        "run --num-workers=4 --max-workers=4",
    ),
    (
        "initial workers outside the range",
        "run --num-workers=101",
        "101 is above 100, the default of --max-workers",
        "run --num-workers=100",
    ),
    (
        "initial workers outside the range",
        "run --num-workers=1 --min-workers=2",
        "1 is below --min-workers, 2",
        "run --num-workers=2 --min-workers=2",
    ),
    (
        "hint outside 0.1 to 0.9",
        "run --utilization-hint=0.95",
        "0.95 is outside",
        "run --utilization-hint=0.9",
    ),
    (
        "hint outside 0.1 to 0.9",
        "update job --utilization-hint=0.05",
        "0.05 is outside",
        "update job --utilization-hint=none",
    ),
    (
        "zone outside the region",
        "run --worker-zone=us-east1-b",
        "us-east1-b is not in --region, us-central1",
        "run --worker-zone=us-central1-a",
    ),
    (
        "subnetwork outside the region",
        "run --subnetwork=regions/us-east1/subnetworks/one",
        "is not in --region, us-central1",
        "run --subnetwork=regions/us-central1/subnetworks/one",
    ),
    (
        "subnetwork without its region",
        "run --subnetwork=one",
        "write regions/us-central1/subnetworks/one",
        "run --subnetwork=regions/us-central1/subnetworks/one",
    ),
    ("nothing to change", "update job", "nothing to change", "update job --max-workers=3"),
    (
        "mode of a running job",
        "update job --delivery=exactly-once",
        "./launch.sh replace job --delivery=exactly-once",
        "update job --max-workers=3",
    ),
    (
        "mode to keep in a dry run",
        "replace job --dry-run",
        "./launch.sh status job shows it; give --delivery=at-least-once or exactly-once",
        "replace job --dry-run --delivery=exactly-once",
    ),
    (
        "mode to keep in a dry run",
        "replace job --dry-run --delivery=keep",
        "a dry run does not look up",
        "replace job",
    ),
    (
        "service option that a setting sets",
        "run --delivery=exactly-once -- --dataflow_service_options=a,streaming_mode_at_least_once",
        "--delivery=at-least-once instead of streaming_mode_at_least_once",
        "run --delivery=exactly-once -- --dataflow_service_options=a",
    ),
    (
        "service option that a setting sets",
        "run -- --dataflow_service_options=streaming_mode_exactly_once",
        "--delivery=exactly-once instead of streaming_mode_exactly_once",
        "run --delivery=exactly-once",
    ),
    (
        "streaming mode by experiment",
        "replace job -- --experiments=a,streaming_mode_exactly_once",
        "give, before --, --delivery=exactly-once instead of streaming_mode_exactly_once",
        "replace job --delivery=exactly-once -- --experiments=a",
    ),
    (
        "flag that a setting sets",
        "run -- --streaming_mode_at_least_once=true",
        "--delivery=at-least-once instead of --streaming_mode_at_least_once",
        "run",
    ),
    (
        "flag that a setting sets",
        "run -- --max_num_workers=3",
        "--max-workers instead of --max_num_workers",
        "run --max-workers=3",
    ),
    (
        "flag that a setting sets",
        "run -- --labels=team=fraud --dataflow_kms_key=k",
        "give, before --, --labels, --kms-key instead of --dataflow_kms_key",
        "run --labels=team=fraud",
    ),
    (
        "flag that the template does not declare",
        "run -- --autoscaling_algorithm=NONE",
        "--autoscaling_algorithm: no flag of the job",
        "run -- --max_batch_size=3",
    ),
    (
        "service option that a setting sets",
        "run -- --dataflow_service_options=min_num_workers=3",
        "--min-workers instead of min_num_workers",
        "run -- --dataflow_service_options=enable_google_cloud_profiler",
    ),
    (
        "range or update without Streaming Engine",
        "run --min-workers=2 -- --enable_streaming_engine=false",
        "without Streaming Engine a job has no worker range",
        "run --min-workers=2",
    ),
    (
        "range or update without Streaming Engine",
        "replace job -- --experiments=a,disable_streaming_engine",
        "disable_streaming_engine: without Streaming Engine",
        "replace job -- --experiments=a",
    ),
    ("Streaming Engine asked for again", "run -- --enable_streaming_engine=true", "always on here", "run"),
    (
        "Runner v2 switched off",
        "run -- --experiments=disable_runner_v2",
        "need Runner v2",
        "run -- --experiments=use_runner_v2",
    ),
    (
        "Runner v2 switched off",
        "run -- --experiments=disable_portable_runner",
        "need Runner v2",
        "run",
    ),
    (
        "MPS with a single process",
        "run --gpu=nvidia-l4 --gpu-sharing=mps -- --experiments=no_use_multiple_sdk_containers",
        "mps lets several processes use the GPU, no_use_multiple_sdk_containers allows one",
        "run --gpu=nvidia-l4 --gpu-sharing=mps -- --experiments=use_multiple_sdk_containers",
    ),
    (
        "MPS with a single process",
        "run --gpu=nvidia-l4 --gpu-sharing=mps -- --worker_processes=single",
        "mps lets several processes use the GPU, --worker_processes=single allows one",
        "run --gpu=nvidia-l4 --gpu-sharing=mps -- --worker_processes=per_cpu",
    ),
    (
        "single process undone",
        "run --gpu=nvidia-l4 --gpu-sharing=single-process -- --worker_processes=per_cpu",
        "--worker_processes=per_cpu contradicts --gpu-sharing=single-process",
        "run --gpu=nvidia-l4 --gpu-sharing=single-process -- --worker_processes=single",
    ),
    (
        "a process for each vCPU by experiment",
        "run --gpu=nvidia-l4 --gpu-sharing=single-process -- --experiments=use_multiple_sdk_containers",
        "contradicts --gpu-sharing=single-process",
        "run --gpu=nvidia-l4 -- --experiments=use_multiple_sdk_containers",
    ),
    (
        "a process for each vCPU by experiment",
        "run -- --worker_processes=single --experiments=a,use_multiple_sdk_containers",
        "contradicts --worker_processes=single",
        "run -- --worker_processes=single --experiments=a",
    ),
    (
        "one process by experiment",
        "run -- --worker_processes=per_cpu --experiments=no_use_multiple_sdk_containers",
        "use --worker_processes=single, after --, instead",
        "run -- --worker_processes=single --experiments=no_use_multiple_sdk_containers",
    ),
    (
        "one process by experiment",
        "run --gpu=nvidia-l4 -- --experiments=no_use_multiple_sdk_containers",
        "use --worker_processes=single, after --, instead",
        "run --gpu=nvidia-l4 -- --worker_processes=single",
    ),
    (
        "GPU asked of workers without",
        "run -- --device=gpu",
        "--device=gpu: needs --gpu",
        "run --gpu=nvidia-l4 -- --device=gpu",
    ),
    (
        "GPU asked of workers without",
        "replace job -- --device=gpu",
        "--device=gpu: needs --gpu",
        # The other mode's flags may stay.
        "replace job --mode=endpoint -- --device=gpu",
    ),
    (
        "GPU that nothing uses",
        "run --gpu=nvidia-l4 -- --device=cpu",
        "nothing would use the GPU",
        "run --gpu=nvidia-l4 -- --device=auto",
    ),
    (
        "right fitting with a GPU",
        "run --gpu=nvidia-l4 -- --experiments=enable_streaming_rightfitting",
        "must not stand beside",
        "run -- --experiments=enable_streaming_rightfitting",
    ),
    (
        "Dataflow Prime",
        "run -- --dataflow_service_options=enable_prime",
        "Dataflow Prime ignores",
        "run -- --dataflow_service_options=enable_prime_x",
    ),
    (
        "Dataflow Prime",
        "run -- --experiments=a,enable_prime",
        "--experiments: enable_prime: Dataflow Prime ignores",
        "run -- --experiments=a",
    ),
    ("FlexRS", "run -- --flexrs_goal=COST_OPTIMIZED", "FlexRS schedules batch jobs only", "run"),
]


@pytest.mark.parametrize(("name", "broken", "reason", "fine"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_a_rule_both_ways(settings: Make, name: str, broken: str, reason: str, fine: str) -> None:
    command, *argv = broken.split()
    given = settings(command_named(command), *argv)
    rules = RULES[command]
    assert [rule.name for rule in rules if rule.problem(given) is not None] == [name]
    (problem,) = problems(rules, given)
    assert reason in problem
    command, *argv = fine.split()
    assert problems(RULES[command], settings(command_named(command), *argv)) == []


def test_each_rule_is_tested() -> None:
    assert {rule.name for rules in RULES.values() for rule in rules} == {name for name, *_ in CASES}


def test_several_problems(settings: Make) -> None:
    given = settings(RUN, "--min-workers=3", "--max-workers=2", "--utilization-hint=1", "--gpu-sharing=mps")
    assert len(problems(LAUNCH_RULES, given)) == 3


@pytest.mark.parametrize("command", ["run", "replace", "update"])
def test_a_command_has_these_rules(command: str) -> None:
    assert command_named(command).rules is RULES[command]
