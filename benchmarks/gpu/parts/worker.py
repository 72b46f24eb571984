"""`python -m benchmarks.gpu.parts.worker FOLDER`: one process of several that share a GPU.

It loads the model and prints READY. For each line of its input that holds THREADS SECONDS, so many bundle
threads then have bundles of one request answered for so many seconds, and it prints what they got through, a
line of JSON. It ends with its input.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import orjson

from benchmarks.gpu.drive import drive
from benchmarks.gpu.sides import our_core
from benchmarks.gpu.workload import FULL, REHEARSAL, save_weights

READY = "ready"


def main(arguments: list[str]) -> int:
    """Load, and answer the lines of the input; return 0."""
    scale = REHEARSAL if "--rehearse" in arguments else FULL
    workload = scale.workload(scale.precisions[0])
    ours = our_core(workload, scale, save_weights(workload, Path(arguments[0])))
    print(READY, flush=True)
    for line in sys.stdin:
        threads, seconds = line.split()
        load = drive(ours, workload.inputs(int(threads)), int(threads), 1, float(seconds), 1.0)
        print(orjson.dumps(asdict(load)).decode(), flush=True)
    ours.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
