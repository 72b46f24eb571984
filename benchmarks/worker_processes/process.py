"""`python -m benchmarks.worker_processes.process FLAGS-OF-A-JOB`: one Python process of a worker, under load.

The process loads the model as a bundle thread of the job would, and prints READY. A line of its input holds
THREADS SECONDS: so many bundle threads then send bundles of one request, one after the other, for so many
seconds, and the process prints their latencies in milliseconds, a line of JSON. It ends with its input.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
from apache_beam.ml.inference.base import ModelHandler
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.job.command_line import job_options
from pipeline.job.handler import make_handler
from pipeline.request.input_spec import Inputs
from pipeline.request.messages import Request, Result, Timeline

READY = "ready"


def main(flags: list[str]) -> int:
    """Answer the lines on stdin, and return 0 at its end."""
    options = PipelineOptions(flags)
    job = job_options(options)
    handler = make_handler(job, options)
    model = handler.load_model()
    (tensor,) = job.input_shape.tensors
    inputs = np.random.default_rng(1).standard_normal(tensor.shape).astype(np.float32)
    print(READY, flush=True)
    for line in sys.stdin:
        threads, seconds = line.split()
        latencies = bundles(handler, model, inputs, int(threads), float(seconds))
        print(orjson.dumps(latencies).decode(), flush=True)
    return 0


def bundles(handler: ModelHandler, model: Any, inputs: Inputs, threads: int, seconds: float) -> list[float]:
    """Have bundle threads send bundles of one request, and return their latencies in milliseconds.

    Raises:
        RuntimeError: The model refused a request.
    """

    def work(_: int) -> list[float]:
        latencies: list[float] = []
        now = begun = time.monotonic()
        while now - begun < seconds:
            sent = now
            received = time.time()
            request = Request("1", inputs, b"", {}, b"{}", Timeline(received, received))
            (answer,) = handler.run_inference([request], model)
            if not isinstance(answer, Result):
                raise RuntimeError(f"the model refused a request: {answer.error_message}")
            now = time.monotonic()
            latencies.append((now - sent) * 1e3)
        return latencies

    with ThreadPoolExecutor(threads) as pool:
        return [latency for latencies in pool.map(work, range(threads)) for latency in latencies]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
