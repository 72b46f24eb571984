"""`python -m benchmarks.worker_processes.process FLAGS-OF-A-JOB`: one Python process of a worker, under load.

Loads the model as a bundle thread of the job would, and prints READY. Then, for each line of its input that
holds THREADS SECONDS, so many bundle threads have bundles of one request answered, one after the other, for
so many seconds; it prints their latencies in milliseconds, a line of JSON. Ends with its input.
"""

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
    options = PipelineOptions(flags)
    job = job_options(options)
    handler = make_handler(job, options)
    model = handler.load_model()
    (tensor,) = job.input_shape.tensors
    inputs = np.random.default_rng(1).standard_normal(tensor.shape).astype(np.float32)
    print(READY, flush=True)
    for line in sys.stdin:
        threads, seconds = line.split()
        found = bundles(handler, model, inputs, int(threads), float(seconds))
        print(orjson.dumps(found).decode(), flush=True)
    return 0


def bundles(handler: ModelHandler, model: Any, inputs: Inputs, threads: int, seconds: float) -> list[float]:
    """Latencies in milliseconds of all bundles that so many threads got answered."""

    def work(_: int) -> list[float]:
        latencies: list[float] = []
        now = begun = time.monotonic()
        while now - begun < seconds:
            sent = now
            received = time.time()
            request = Request("1", inputs, b"", {}, {}, Timeline(received, received))
            (answer,) = handler.run_inference([request], model)
            if not isinstance(answer, Result):
                raise RuntimeError(f"the model refused a request: {answer.error_message}")
            now = time.monotonic()
            latencies.append((now - sent) * 1e3)
        return latencies

    with ThreadPoolExecutor(threads) as pool:
        return [latency for found in pool.map(work, range(threads)) for latency in found]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
