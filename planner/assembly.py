"""A worker and a replica for the kernel, out of a configuration and a profile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from launch.rules.endpoint import machine_of
from launch.settings.job import MPS, NO_SHARING, SINGLE_PROCESS
from launch.settings.machines import built_in_gpu, default_machine
from loadtest.profile.profile import EndpointProfile, Law, Profile
from pipeline.options.job_options import ENDPOINT, SINGLE, JobOptions
from planner.basis import Ground, assumed, of_figure
from planner.configuration import Configuration
from planner.cost.machines import machine
from planner.kernel.replica import Replica
from planner.kernel.worker import (
    AcrossBundles,
    Bundles,
    CallTime,
    EndpointCalls,
    ModelInWorker,
    OnCpu,
    Worker,
    shared_gpu,
)
from planner.law import ServiceLaw, of_profile
from planner.profiles import bundled_job, endpoint_of, job_of, law_of_job, source_of
from planner.sdk_process import LARGEST_BUNDLE, PER_BUNDLE, PER_MESSAGE, bundle_work

# Of a streaming job with Streaming Engine: Google's page of pipeline options.
DEFAULT_MACHINE = "n1-standard-2"
DEFAULT_THREADS = 12
# As the container's and the job's own, where their flags do not say.
_CONTAINER_BATCH, _CONTAINER_WAIT_S = 128, 0.001
_BATCHES_ON_GPU = 2

# Time of a vCPU over that of one of N1, by family. Assumed: nobody measured the job on them.
_FAMILIES = {"n1": 1.0, "n2": 0.85, "n2d": 0.8, "e2": 1.1, "c2": 0.7, "c2d": 0.7, "c3": 0.65, "g2": 0.75}


class PlanError(Exception):
    """There is nothing to predict from; the message says what to do."""


@dataclass(frozen=True)
class Profiled:
    """A profile, and a law by hand in its model's place.

    Attributes:
        profile: Of job or endpoint.
        path: Where it lies.
        service: The model's law as the user states it; None for the profile's.
    """

    profile: Profile
    path: Path
    service: ServiceLaw | None = None


@dataclass(frozen=True)
class Shape:
    """A worker's machine.

    Attributes:
        machine_type: Compute Engine's name.
        vcpus: Of it.
        processes: Python processes of the job on it.
        threads: Bundle threads of all of them.
    """

    machine_type: str
    vcpus: int
    processes: int
    threads: int


def shape(configuration: Configuration) -> Shape:
    """Return the machine of a worker.

    Raises:
        PlanError: The machine type is not known.
    """
    run = configuration.run
    chosen = run.machine_type or (default_machine(run.gpu) if run.gpu else DEFAULT_MACHINE)
    vcpus = _vcpus(chosen)
    one = run.gpu_sharing == SINGLE_PROCESS or configuration.options.worker_processes == SINGLE
    processes = 1 if one else vcpus
    return Shape(chosen, vcpus, processes, processes * (run.harness_threads or DEFAULT_THREADS))


def family_factor(machine_type: str) -> float:
    """Return the time of a vCPU over that of one of N1; 1 of a family that is not known."""
    return _FAMILIES.get(machine_type.split("-")[0], 1.0)


def worker(configuration: Configuration, profiled: Profiled, core_factor: float, look_s: float) -> Worker:
    """Return the kernel's description of one worker on Dataflow.

    Args:
        configuration: Of the job.
        profiled: What job and model cost where they were measured.
        core_factor: Time of an N1 vCPU over that of a core there.
        look_s: How often the service makes a bundle.

    Raises:
        PlanError: The profile does not say what the model takes on the device.
        ProfileError: It has no job, or no endpoint.
    """
    made, run, options = shape(configuration), configuration.run, configuration.options
    factor = core_factor * family_factor(made.machine_type)
    job = job_of(profiled.profile, profiled.path)
    bundles = Bundles(
        made.threads // made.processes, LARGEST_BUNDLE, gather_s=look_s, max_active=_max_active(options, made)
    )
    work = bundle_work(job, bundled_job(), factor)
    if configuration.endpoint:
        replica = _replica_time(endpoint_of(profiled.profile, profiled.path), profiled)
        of_replica = core_factor * family_factor(machine_of(configuration.endpoint))
        calls = EndpointCalls(
            _slower(replica.likeliest, of_replica),
            options.endpoint_batch_size,
            options.endpoint_max_concurrency,
            # The fluid layer has the endpoint's queue: here it never holds a call up.
            at_once=float(options.endpoint_max_concurrency * made.processes),
            deadline_s=options.endpoint_deadline_s,
        )
        return Worker(made.vcpus, calls, work, bundles, made.processes)
    law, batching = _model(configuration, profiled), AcrossBundles
    size, wait_s = options.max_batch_size, options.max_batch_wait_ms / 1e3
    if run.gpu:
        device = shared_gpu(run.gpu_sharing, host_cores=1.0)
        model = ModelInWorker(law.likeliest, batching(size, wait_s, _BATCHES_ON_GPU), device)
    else:
        model = ModelInWorker(_slower(law.likeliest, factor), batching(size, wait_s), OnCpu())
    return Worker(made.vcpus, model, work, bundles, made.processes)


def replica(configuration: Configuration, profiled: Profiled, core_factor: float) -> Replica:
    """Return the kernel's description of one replica of the container.

    Of a call, what the server itself does not report is the way there. The container's processor time under
    full load is the event loop's of each call, and half of each row's; the model has the other half, and of a
    lone call's time what is left.

    Raises:
        PlanError: The replica has a GPU, and the profile says nothing of one.
        ProfileError: The profile has no endpoint.
    """
    settings = configuration.endpoint
    assert settings is not None  # a replica is of endpoint mode
    profile = endpoint_of(profiled.profile, profiled.path)
    chosen = machine_of(settings)
    gpu = settings.endpoint_gpu or built_in_gpu(chosen)
    if gpu and profiled.service is None and "--device=gpu" not in profile.flags:
        raise PlanError(_no_gpu("--endpoint-gpu", profiled))
    vcpus = _vcpus(chosen)
    factor = core_factor * family_factor(chosen)
    arguments = settings.serving_args or {}
    whole = _replica_time(profile, profiled)
    way_ms = profile.overhead_ms.value if profile.overhead_ms else 0.0
    call_ms, row_ms, pass_ms = _parts_ms(profile.processor, whole)
    if profiled.service:
        passes, time = profiled.service.likeliest, _slower(profiled.service.likeliest, 1.0 if gpu else factor)
    else:
        passes = CallTime(
            max(whole.fixed.value - way_ms - call_ms, 0.01) / 1e3,
            pass_ms / 1e3,
            min(whole.variation, 1.0),
        )
        time = passes if gpu else _slower(passes, factor)
    return Replica(
        vcpus,
        time,
        int(arguments.get("workers", vcpus)),
        AcrossBundles(
            int(arguments.get("max_batch_size", _CONTAINER_BATCH)),
            float(arguments.get("max_batch_wait_ms", _CONTAINER_WAIT_S * 1e3)) / 1e3,
        ),
        shared_gpu(NO_SHARING, host_cores=1.0) if gpu else OnCpu(),
        call_s=call_ms / 1e3 * factor,
        row_s=row_ms / 1e3 * factor,
        way_s=way_ms / 1e3,
    )


def grounds(configuration: Configuration, profiled: Profiled) -> list[Ground]:
    """Return what worker and replica rest on."""
    made, run = shape(configuration), configuration.run
    found = []
    if not configuration.endpoint:
        law = _model(configuration, profiled)
        found += [of_figure("a call of the model", law.fixed), of_figure("each request of it", law.each)]
    else:
        law = _replica_time(endpoint_of(profiled.profile, profiled.path), profiled)
        found += [of_figure("a call of the endpoint", law.fixed), of_figure("each request of it", law.each)]
        found.append(
            assumed(
                "a call's parts", "half of a row's processor time is the model's",
                "the profile has the container's processor time as one",
            )
        )  # fmt: skip
    found.append(of_figure("a bundle in Dataflow's SDK process", PER_BUNDLE))
    found.append(of_figure("each message there", PER_MESSAGE))
    if job_of(profiled.profile, profiled.path).decode is None:
        found.append(assumed("decoding, and writing calls", "as the bundled job's", "not in the profile"))
    family = made.machine_type.split("-")[0]
    if family != "n1":
        value = f"x {family_factor(made.machine_type):g} of N1's"
        found.append(assumed(f"time of a vCPU of {family}", value, "nobody measured the job on it"))
    if not run.machine_type and not run.gpu:
        found.append(
            assumed("machine of a worker", DEFAULT_MACHINE, "Dataflow's own choice, as Google's page had it")
        )
    if run.gpu_sharing == MPS:
        found.append(
            assumed("what MPS gives", "half of the contention", "it depends on the model; not measured")
        )
    return found


def _model(configuration: Configuration, profiled: Profiled) -> ServiceLaw:
    """Return the law of the model in the worker.

    Raises:
        PlanError: It was measured on another device, or behind an endpoint.
    """
    if profiled.service:
        return profiled.service
    job = job_of(profiled.profile, profiled.path)
    if job.mode == ENDPOINT:
        raise PlanError(
            f"{profiled.path} was measured with an endpoint, and --mode is local: give one of the model "
            "in the worker (./launch.sh loadtest profile), or --mode=endpoint"
        )
    if configuration.run.gpu and "--device=gpu" not in job.flags.replace(" gpu", "=gpu"):
        raise PlanError(_no_gpu("--gpu", profiled))
    return law_of_job(profiled.profile, profiled.path)


def _no_gpu(flag: str, profiled: Profiled) -> str:
    return (
        f"{flag}: {source_of(profiled.profile, profiled.path)} says nothing of a GPU: give a --profile made "
        "with -- --device=gpu on one, or what a call of the model takes there, as you expect it: "
        "--service-ms=FIXED+EACH, such as 2+0.05 for 2 ms and 0.05 ms a request"
    )


def _replica_time(profile: EndpointProfile, profiled: Profiled) -> ServiceLaw:
    if profiled.service:
        return profiled.service
    return of_profile(profile.service, profiled.profile.basis, source_of(profiled.profile, profiled.path))


def _parts_ms(processor: Law | None, whole: ServiceLaw) -> tuple[float, float, float]:
    """Return the event loop's time of a call and of a row, and the model's of a row, milliseconds."""
    if processor is None:
        return 0.0, 0.0, whole.each.value
    row_ms = max(processor.b.value, 0.0) / 2
    return max(processor.a.value, 0.0), row_ms, row_ms


def _vcpus(machine_type: str) -> int:
    try:
        return machine(machine_type).vcpus
    except ValueError as error:
        raise PlanError(str(error)) from None


def _max_active(options: JobOptions, made: Shape) -> int | None:
    hint = options.max_active_bundles_per_worker
    return min(hint, made.threads) if hint else None


def _slower(time: CallTime, factor: float) -> CallTime:
    return CallTime(time.fixed_s * factor, time.each_s * factor, time.variation, time.slow_down)
