"""What a bundle costs in Dataflow's SDK process, beside the decoding and the model of a profile.

A profile is of a job off Dataflow, where Beam's in-process engine takes its bundles; what that costs says
nothing of Dataflow's SDK harness. `benchmarks.worker` drives a real SDK harness.
"""

from __future__ import annotations

from loadtest.profile.profile import JobProfile
from pipeline.options.job_options import ENDPOINT
from planner.kernel.worker import BundleWork
from planner.law import Figure

# Processor time of the bundled job's process, all threads: 193 µs a message in bundles of 10, 40.6 of 100 and
# 20.5 of 1,000, which is 1.93, 4.06 and 20.5 ms a bundle. The ends are the lines through neighbouring two.
_SOURCE = "benchmarks.worker, 2026-11-27, AMD EPYC: bundles of 10, 100 and 1,000 messages of 30 features"
PER_BUNDLE = Figure(1.74, 1.70, 2.23, "ms", "measured", _SOURCE)
PER_MESSAGE = Figure(0.0188, 0.0183, 0.0236, "ms", "measured", _SOURCE)
LARGEST_BUNDLE = 1_000
"""Beyond, nothing was measured."""
# Batches of the job that was measured.
_BATCH = 128


def bundle_work(job: JobProfile, measured: JobProfile, factor: float) -> BundleWork:
    """Return what a bundle costs beside its calls.

    Args:
        job: Whose decoding it is.
        measured: The profile of the job that `PER_BUNDLE` and `PER_MESSAGE` are of: what they hold of its
            decoding and its model is taken out, as `job` brings its own. One in endpoint mode has no law of
            decoding: this one's stands in, and the model's part stays, for writing the calls.
        factor: By which the worker's vCPU is slower than the core that was measured on.
    """
    decode, service = measured.decode, measured.service
    of_its_batch = service.a.value + (decode.a.value if decode else 0.0)
    of_its_message = (decode.b.value if decode else 0.0) + of_its_batch / _BATCH
    if job.mode != ENDPOINT:
        of_its_message += service.b.value
    own = job.decode or decode
    milli = factor / 1e3
    return BundleWork(
        begin_s=max(PER_BUNDLE.value - of_its_batch, 0.0) * milli,
        decode_s=max(own.b.value if own else 0.0, 0.0) * milli,
        batch_s=max(own.a.value if own else 0.0, 0.0) * milli,
        encode_s=max(PER_MESSAGE.value - of_its_message, 0.0) * milli,
    )
