"""Stock's way beside ours: bundle threads with small bundles, in each precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from benchmarks.gpu.context import NO_TIME, Context, Row
from benchmarks.gpu.drive import drive
from benchmarks.gpu.sides import check, sides
from benchmarks.gpu.workload import save_weights

_LONGEST_S = 4.0
_LEAST_S = 0.5


def measure(context: Context) -> Iterator[Row]:
    """Yield a row for each precision, bundle, number of threads and side; one without time says so."""
    scale = context.scale
    cells = [(bundle, threads) for threads in scale.threads for bundle in scale.bundles]
    left = len(scale.precisions) * len(cells) * 2
    for precision in scale.precisions:
        workload = scale.workload(precision)
        weights = save_weights(workload, context.folder)
        both = sides(workload, scale, weights, with_beam=context.with_beam)
        try:
            check(both, workload.inputs(max(scale.bundles)))
            for bundle, threads in cells:
                inputs = workload.inputs(threads * bundle)
                for side in both:
                    seconds = context.share(left, _LONGEST_S)
                    left -= 1
                    cell = {
                        "precision": workload.precision,
                        "bundle": bundle,
                        "threads": threads,
                        "side": side.title,
                    }
                    if seconds < _LEAST_S:
                        yield cell | NO_TIME
                    else:
                        load = drive(side, inputs, threads, bundle, 0.75 * seconds, 0.25 * seconds)
                        yield cell | asdict(load)
        finally:
            for side in both:
                side.close()
