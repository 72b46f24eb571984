"""What is wrong with flags that are each right: values that do not go together, or not with the runner."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.engine.choice import IN_PROCESS_RUNNERS, runner_name
from pipeline.options.address import RAW, address
from pipeline.options.job_options import ENDPOINT, LOCAL, SINGLE
from pipeline.options.workers import ONE_PROCESS, PROCESS_PER_CPU
from pipeline.process.image import compiler_left_out


def conflicts(known: Namespace) -> list[str]:
    """Return what is wrong with the flags together, a sentence each; `known` has their texts by name."""
    found = []
    runner = runner_name(known.runner)
    if runner in _BY_RUNNER:
        found += _BY_RUNNER[runner](known)
    else:
        found.append(
            f"--runner: {runner} is refused: this job is proven on DataflowRunner, and on this machine "
            "on DirectRunner, only"
        )
    # Another mode is refused as a value of its flag.
    if known.inference_mode in _BY_MODE:
        found += _BY_MODE[known.inference_mode](known)
    if known.output_topic is not None and known.output_topic == known.dead_letter_topic:
        found.append(
            "--dead_letter_topic: the same topic as --output_topic: readers of results would find dead "
            "letters among them. Give dead letters a topic of their own"
        )
    if known.model_params is not None and known.model_class is None:
        found.append("--model_params: needs --model_class, whose arguments they are")
    if known.model_root is not None and known.model_pointer is None:
        found.append("--model_root: needs --model_pointer, whose models lie under it")
    return found


def _in_process(known: Namespace) -> list[str]:
    found = []
    if known.direct_num_workers != 1:
        found.append(
            f"--direct_num_workers: {known.direct_num_workers} is refused, only 1 works: "
            "with more, Beam's in-process engine loses what a streaming source has left to read"
        )
    if known.direct_running_mode != "in_memory":
        found.append(f"--direct_running_mode: {known.direct_running_mode} is refused: leave it at in_memory")
    if known.max_active_bundles_per_worker is not None:
        found.append(
            "--max_active_bundles_per_worker: works on Dataflow only; here, one bundle runs at a time"
        )
    if known.output_table is not None:
        found.append(
            "--output_table: works on Dataflow only: writing to BigQuery shuffles, and here messages would "
            "then be acknowledged before their results are published"
        )
    if known.worker_processes == SINGLE:
        found.append("--worker_processes: works on Dataflow only; here, one process is all there is")
    for name, path, what in (
        ("model_path", known.model_path, "a model file"),
        ("model_pointer", known.model_pointer, "a pointer"),
    ):
        if known.inference_mode == LOCAL and path and _is_local(path) and not Path(path).is_file():
            found.append(
                f"--{name}: there is no file {path!r}: give the path of {what} on this machine, or gs://…"
            )
    return found


def _dataflow(known: Namespace) -> list[str]:
    found = [
        f"--{name}: missing. --runner=DataflowRunner needs it"
        for name, text in (
            ("project", known.project),
            ("region", known.region),
            ("temp_location", known.temp_location),
        )
        if text is None
    ]
    if known.run_for_s is not None:
        found.append("--run_for_s: works off Dataflow only; drain a Dataflow job instead")
    for name, path in (
        ("model_path", known.model_path),
        ("model_pointer", known.model_pointer),
        ("model_root", known.model_root),
    ):
        if known.inference_mode == LOCAL and path and _is_local(path) and not path.startswith("/"):
            found.append(
                f"--{name}: {path!r} is not an absolute path. On Dataflow it is looked for in the worker's "
                "image: begin with a slash, or with gs://"
            )
    experiments = known.experiments or []
    if known.worker_processes == SINGLE and PROCESS_PER_CPU in experiments:
        found.append(
            f"--experiments: {PROCESS_PER_CPU} contradicts --worker_processes=single: leave one of them out"
        )
    if known.worker_processes != SINGLE and ONE_PROCESS in experiments:
        found.append(
            f"--experiments: {ONE_PROCESS}: use --worker_processes=single instead, which gives the one "
            "process all cores"
        )
    return found


def _local(known: Namespace) -> list[str]:
    if known.model_path is None and known.model_pointer is None:
        return ["--model_path: missing. --inference_mode=local needs a model file, or else --model_pointer"]
    if known.model_path is not None and known.model_pointer is not None:
        return ["--model_pointer: says which model to run, and so does --model_path: give one of the two"]
    if known.model_pointer is not None and known.compile == "true":
        return [
            "--compile: true cannot go with --model_pointer: torch does not compile safely beside threads "
            "that serve, as a swap would. Use --model_path, and start another job for another model"
        ]
    if known.compile == "true" and compiler_left_out():
        return [
            "--compile: true needs a C++ compiler, and this image was built without: build it again with "
            "--build-arg COMPILE=true (./launch.sh build cpu --compiler), or leave --compile out"
        ]
    return []


def _endpoint(known: Namespace) -> list[str]:
    found = []
    try:
        address(
            endpoint=known.endpoint,
            location=known.endpoint_location,
            url=known.endpoint_url,
            token_host=known.endpoint_token_host,
            project=known.project,
            protocol=known.endpoint_protocol,
            model=known.endpoint_model,
        )
    except ValueError as error:
        found.append(str(error))
    if known.endpoint_protocol == RAW and "," in known.input_shape:
        found.append("--endpoint_protocol: raw carries one tensor; several inputs need predict or triton")
    return found


def _is_local(path: str) -> bool:
    """Return whether a path is on the machine that opens it, not on one of Beam's other filesystems."""
    return "://" not in path


_Check = Callable[[Namespace], list[str]]
_BY_RUNNER: Mapping[str, _Check] = {
    **dict.fromkeys(IN_PROCESS_RUNNERS, _in_process),
    "DataflowRunner": _dataflow,
}
_BY_MODE: Mapping[str, _Check] = {LOCAL: _local, ENDPOINT: _endpoint}
