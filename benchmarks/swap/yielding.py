"""`python -m benchmarks.swap.yielding`: what a load beside it costs a serving thread, and what helps.

One thread sends requests of one row at a fixed rate through the batcher to the example's model, as bundles
do. Meanwhile another thread loads that model again and again, in one of these ways: plainly; under
`yield_gil`, as the model watcher does; with a shorter switch interval of the interpreter. The ways take turns
in each round.

A last part shows what a child process that loads the model could hand over to the process that serves it.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from statistics import median
from typing import TypeVar, cast

import numpy as np
import torch
from rich.console import Console

from benchmarks.harness import cli, results
from benchmarks.harness.machine import versions
from examples.breast_cancer.autoencoder import FEATURES
from local.run import EXAMPLE
from pipeline.batching.batch_runner import BatchRunner, BatchSlice, BundleInputs
from pipeline.batching.batcher import Batcher
from pipeline.model.active_model import ActiveModel
from pipeline.model.load import load
from pipeline.model.swapping.yielding import yield_gil
from pipeline.request.input_spec import InputSpec

_T = TypeVar("_T")

MODEL = EXAMPLE / "model.pt2"
SPEC = InputSpec.parse(str(FEATURES))
MAX_BATCH_SIZE = 64


@dataclass(frozen=True)
class Flags:
    """The command line.

    Attributes:
        rate: Requests per second.
        seconds: Seconds of each way in each round.
        rounds: How often each way is measured.
        out: The folder for the results.
    """

    rate: float
    seconds: float
    rounds: int
    out: Path


@dataclass(frozen=True)
class Way:
    """One way to load beside a serving thread.

    Attributes:
        title: Its row in the table.
        during_load: Entered on the loading thread around each load; None: nothing is loaded.
    """

    title: str
    during_load: Callable[[], AbstractContextManager[None]] | None


@dataclass(frozen=True)
class Measured:
    """One way in one round.

    Attributes:
        p50_ms: Median latency, from when a request was due.
        p99_ms: 99th percentile of it.
        loads: Loads that ended.
        load_s: Median seconds of a load; NaN without one.
    """

    p50_ms: float
    p99_ms: float
    loads: int
    load_s: float


@dataclass(frozen=True)
class Handover:
    """What could come from a process that loads the model to the one that serves it.

    Attributes:
        module: What happens to the loaded module.
        program: What happens to the exported program.
        load_ms: CPU time of `torch.export.load` and the module, which the serving process has to spend
            itself.
        tensors_ms: CPU time to take over the tensors alone, in shared memory.
    """

    module: str
    program: str
    load_ms: float
    tensors_ms: float


@contextmanager
def switch_interval(seconds: float) -> Iterator[None]:
    """Set the interpreter's switch interval inside the `with` block."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


WAYS = (
    Way("no load", None),
    Way("load", nullcontext),
    Way("load, yield_gil (sys.setprofile)", yield_gil),
    Way("load, switch interval 0.5 ms", lambda: switch_interval(0.0005)),
    Way("load, switch interval 0.05 ms", lambda: switch_interval(0.00005)),
)


def measure(way: Way, rate: float, seconds: float) -> Measured:
    """Serve for so many seconds at `rate` requests per second, and load beside it in this way."""
    batcher = Batcher(
        BatchRunner(ActiveModel(load(str(MODEL), SPEC, max_batch_size=MAX_BATCH_SIZE))),
        max_batch_size=MAX_BATCH_SIZE,
        max_wait_s=0.0,
        timeout_s=60.0,
        prepare_thread=lambda: torch.set_num_threads(1),
    )
    ended = threading.Event()
    load_s: list[float] = []

    def load_again_and_again() -> None:
        torch.set_num_threads(1)
        assert way.during_load is not None
        while not ended.is_set():
            begun = time.perf_counter()
            with way.during_load():
                load(str(MODEL), SPEC, max_batch_size=MAX_BATCH_SIZE)
            load_s.append(time.perf_counter() - begun)

    loader = threading.Thread(target=load_again_and_again) if way.during_load else None
    if loader is not None:
        loader.start()
    try:
        latencies_ms = serve(batcher, rate, seconds)
    finally:
        ended.set()
        if loader is not None:
            loader.join()
        batcher.close()
    p50, p99 = (float(value) for value in np.percentile(latencies_ms, (50, 99)))
    return Measured(p50, p99, len(load_s), median(load_s) if load_s else float("nan"))


def serve(batcher: Batcher[BundleInputs, BatchSlice], rate: float, seconds: float) -> list[float]:
    """Send requests of one row; return each one's latency in milliseconds, from when it was due."""
    inputs = BundleInputs(SPEC.stack([SPEC.zeros()]), 1)
    latencies_ms = []
    begun = time.perf_counter()
    for request in range(max(1, round(rate * seconds))):
        due = begun + request / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        batcher.submit(inputs)
        latencies_ms.append(1000 * (time.perf_counter() - due))
    return latencies_ms


def handover() -> Handover:
    """Try to hand over a loaded model as processes do: pickled, with its tensors in shared memory."""
    torch.multiprocessing.set_sharing_strategy("file_system")
    program = torch.export.load(MODEL)
    module = program.module()
    weights = dict(module.state_dict())
    return Handover(
        module=attempt(lambda: through_pickle(module)),
        program=attempt(lambda: through_pickle(program).module()),
        load_ms=cpu_ms(lambda: torch.export.load(MODEL).module()),
        tensors_ms=cpu_ms(lambda: through_pickle(weights)),
    )


def through_pickle(thing: _T) -> _T:
    """Return what another process would get."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cast(_T, pickle.loads(bytes(ForkingPickler.dumps(thing))))


def attempt(action: Callable[[], object]) -> str:
    """Return `possible`, or why it is not."""
    try:
        action()
    except Exception as error:  # torch has no one error for it
        return f"{type(error).__name__}: {error}"
    return "possible"


def cpu_ms(action: Callable[[], object], times: int = 5) -> float:
    """Return the median CPU time of the calling thread, in milliseconds."""
    action()
    taken = []
    for _ in range(times):
        begun = time.thread_time()
        action()
        taken.append(1000 * (time.thread_time() - begun))
    return median(taken)


def parse(arguments: Sequence[str] | None) -> Flags:
    """Return the flags of a command line; exit with code 2 if they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.swap.yielding",
        description=(__doc__ or "").splitlines()[0],
        allow_abbrev=False,
    )
    parser.add_argument("--rate", type=float, default=300.0, help="requests/s (default: %(default)g)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each way (default: %(default)g)")
    parser.add_argument("--rounds", type=int, default=5, help="how many (default: %(default)s)")
    cli.add_out(parser, "gets yielding.json and yielding.txt")
    flags = Flags(**vars(parser.parse_args(arguments)))
    if flags.rate <= 0 or flags.seconds <= 0 or flags.rounds < 1:
        parser.error("--rate and --seconds above 0, --rounds at least 1")
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all ways, publish the results, and return 0."""
    flags = parse(arguments)
    torch.set_num_threads(1)
    rounds: dict[str, list[Measured]] = {way.title: [] for way in WAYS}
    for number in range(flags.rounds):
        # Each round starts with another way, so that none always has the same one before it.
        first = number % len(WAYS)
        for way in (*WAYS[first:], *WAYS[:first]):
            rounds[way.title].append(measure(way, flags.rate, flags.seconds))
    handed_over = handover()
    figures = {
        "cpus": os.cpu_count(),
        "versions": versions(),
        "flags": {"rate": flags.rate, "seconds": flags.seconds, "rounds": flags.rounds},
        "ways": {title: [asdict(one) for one in measured] for title, measured in rounds.items()},
        "handover": asdict(handed_over),
    }
    results.publish(flags.out, "yielding", lambda console: show(console, flags, rounds, handed_over), figures)
    return 0


def show(console: Console, flags: Flags, rounds: dict[str, list[Measured]], handed_over: Handover) -> None:
    """Print the tables."""
    console.print(
        f"Latency of single requests at {flags.rate:g} a second beside a thread that loads a model; "
        f"medians of {flags.rounds} rounds of {flags.seconds:g} s",
        highlight=False,
        soft_wrap=True,
    )
    table = results.table(("p50 ms", "p99 ms", "lowest", "highest", "loads", "s a load"))
    for title, measured in rounds.items():
        p99 = [one.p99_ms for one in measured]
        table.add_row(
            title,
            f"{median(one.p50_ms for one in measured):.1f}",
            *(f"{value:.1f}" for value in (median(p99), min(p99), max(p99))),
            f"{median(one.loads for one in measured):g}",
            f"{median(one.load_s for one in measured):.2f}",
        )
    console.print(table)
    lines = (
        "From a child process that loads the model, to the one that serves it:",
        f"  the module: {handed_over.module}",
        f"  the exported program, made a module again: {handed_over.program}",
        f"  its tensors alone: {handed_over.tensors_ms:.1f} ms of CPU time, of {handed_over.load_ms:.1f} ms "
        "for torch.export.load and the module",
        "",
        f"{os.cpu_count()} cores",
        ", ".join(f"{name} {number}" for name, number in versions().items()),
    )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
