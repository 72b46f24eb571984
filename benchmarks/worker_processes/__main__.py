"""`python -m benchmarks.worker_processes`: a process for each vCPU of a worker, beside one process for all.

What --worker_processes chooses between. N processes hold N copies of the model and of Python with torch, each
computing with one thread. One process holds one copy, batches what all its bundle threads bring and computes
with a thread for each core, but has one global lock. Both get the same load: bundles of one request at the
handler, from as many threads for each core as Dataflow gives a process.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.harness import results
from benchmarks.harness.handlers import state_dict
from benchmarks.harness.machine import versions
from benchmarks.harness.models import Workload, example, mlp
from benchmarks.local_engine.report import progress
from benchmarks.worker_processes.measures import Arrangement, Turn, arrangements, take_turn
from pipeline.options.workers import cores

MODELS = {"autoencoder": example, "mlp": mlp}
WARM_UP_S = 2.0


@dataclass(frozen=True)
class Flags:
    """The command line."""

    out: Path
    seconds: float
    rounds: int
    threads: int
    models: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One model in one arrangement, round by round."""

    model: str
    arrangement: Arrangement
    turns: tuple[Turn, ...]

    @property
    def medians(self) -> dict[str, float]:
        names = ("requests_per_s", "p99_ms", "memory_mib", "resident_mib")
        return {name: statistics.median(getattr(turn, name) for turn in self.turns) for name in names}


def parse(arguments: Sequence[str] | None) -> Flags:
    """Flags from a command line; exits with code 2 for wrong ones, and where there is one core only."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.worker_processes",
        description=__doc__.splitlines()[0],
        allow_abbrev=False,
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=results.folder,
        default=results.FOLDER,
        help="gets worker_processes.json and worker_processes.txt (default: benchmarks/results)",
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of each turn (default: %(default)g)")
    parser.add_argument("--rounds", type=int, default=3, help="of turns (default: %(default)s)")
    parser.add_argument(
        "--threads",
        type=int,
        default=12,
        help="bundle threads for each core (default: %(default)s, as Dataflow gives a process)",
    )
    parser.add_argument(
        "--models",
        metavar="X,X",
        type=_models,
        default=tuple(MODELS),
        help=f"of {', '.join(MODELS)} (default: all)",
    )
    flags = Flags(**vars(parser.parse_args(arguments)))
    if flags.seconds <= 0 or flags.rounds < 1 or flags.threads < 1:
        parser.error("--seconds must be above 0, --rounds and --threads at least 1")
    if cores() < 2:
        parser.error("with one core there is one process either way: take a machine with more")
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    flags = parse(arguments)
    rows = measure(flags)
    figures = {
        "versions": versions(),
        "cpus": os.cpu_count(),
        "flags": {"seconds": flags.seconds, "rounds": flags.rounds, "threads": flags.threads},
        "rows": [{**asdict(row), "medians": row.medians} for row in rows],
    }
    results.publish(flags.out, "worker_processes", lambda console: show(console, rows), figures)
    return 0


def measure(flags: Flags) -> list[Row]:
    """Every model in both arrangements, which take turns."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in flags.models:
            workload = MODELS[name]()
            job_flags = _job_flags(workload, state_dict(workload, Path(folder)))
            both = arrangements(cores(), flags.threads)
            turns: dict[Arrangement, list[Turn]] = {arrangement: [] for arrangement in both}
            for number in range(flags.rounds):
                for arrangement in both:
                    progress(f"{name}, {arrangement.title}, round {number + 1} of {flags.rounds}")
                    turns[arrangement].append(take_turn(arrangement, job_flags, WARM_UP_S, flags.seconds))
            rows += [Row(workload.title, arrangement, tuple(taken)) for arrangement, taken in turns.items()]
    return rows


def show(console: Console, rows: Sequence[Row]) -> None:
    """Prints a table for each model."""
    for model in dict.fromkeys(row.model for row in rows):
        table = results.table(
            ("processes", "bundle\nthreads", "requests/s", "p99\nms", "memory\nMiB", "RSS\nMiB"),
        )
        for row in rows:
            if row.model != model:
                continue
            medians = row.medians
            table.add_row(
                row.arrangement.title,
                str(row.arrangement.processes),
                f"{row.arrangement.processes} × {row.arrangement.threads}",
                f"{medians['requests_per_s']:,.0f}",
                f"{medians['p99_ms']:.1f}",
                f"{medians['memory_mib']:,.0f}",
                f"{medians['resident_mib']:,.0f}",
            )
        console.print(f"{model}: bundles of one request", highlight=False)
        console.print(table)
    found = ", ".join(f"{name} {number}" for name, number in versions().items())
    console.print(
        "medians of the rounds; memory: each process's own, and the files that they share once; RSS counts "
        f"these for each.\n{os.cpu_count()} cores; {found}",
        highlight=False,
        soft_wrap=True,
    )


def _job_flags(workload: Workload, weights: Path) -> list[str]:
    cls = workload.model_class
    return [
        f"--model_path={weights}",
        f"--model_class={cls.__module__}:{cls.__name__}",
        f"--model_params={json.dumps(dict(workload.model_params))}",
        f"--input_shape={workload.input_shape}",
        "--device=cpu",
    ]


def _models(text: str) -> tuple[str, ...]:
    names = tuple(name for name in MODELS if name in text.split(","))
    if not names or not set(text.split(",")) <= set(MODELS):
        raise argparse.ArgumentTypeError(f"{text!r}: the models are {', '.join(MODELS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
