"""`python -m benchmarks.worker_processes`: a process for each vCPU of a worker, beside one process for all.

What --worker_processes chooses between. N processes hold N copies of the model and of Python with torch, each
computing with one thread. One process holds one copy, batches what all its bundle threads bring and computes
with a thread for each core, but has one global lock. Both get the same load: bundles of one request at the
handler, from as many threads for each core as Dataflow gives a process.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import cli, results
from benchmarks.harness.handlers import model_flags, state_dict
from benchmarks.harness.models import example, mlp
from benchmarks.worker_processes import report
from benchmarks.worker_processes.measures import Turn, take_turn
from benchmarks.worker_processes.report import Row
from benchmarks.worker_processes.sides import Arrangement, arrangements
from pipeline.options.workers import cores

MODELS = {"autoencoder": example, "mlp": mlp}
WARM_UP_S = 2.0


@dataclass(frozen=True)
class Options:
    """The command line."""

    out: Path
    seconds: float
    rounds: int
    threads: int
    models: tuple[str, ...]


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags, or with only one core."""
    parser = cli.new_parser("worker_processes", __doc__)
    cli.add_out(parser, "gets worker_processes.json and worker_processes.txt (default: benchmarks/results)")
    cli.add_number(parser, "--seconds", 8.0, "of each turn")
    cli.add_number(parser, "--rounds", 3, "of turns")
    parser.add_argument(
        "--threads",
        type=int,
        default=12,
        help="bundle threads for each core (default: %(default)s, as Dataflow gives a process)",
    )
    cli.add_names(parser, "--models", MODELS)
    options = Options(**vars(parser.parse_args(arguments)))
    if not cli.is_positive(options.seconds) or options.rounds < 1 or options.threads < 1:
        parser.error("--seconds must be above 0, --rounds and --threads at least 1")
    if cores() < 2:
        parser.error("with one core there is one process either way: take a machine with more")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and return 0."""
    options = parse(arguments)
    rows = measure(options)
    figures = {
        "flags": {"seconds": options.seconds, "rounds": options.rounds, "threads": options.threads},
        **report.figures(rows),
    }
    results.publish(options.out, "worker_processes", lambda console: report.show(console, rows), figures)
    return 0


def measure(options: Options) -> list[Row]:
    """Measure every model in both arrangements, which take turns."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            workload = MODELS[name]()
            job_flags = [*model_flags(workload, state_dict(workload, Path(folder))), "--device=cpu"]
            both = arrangements(cores(), options.threads)
            turns: dict[Arrangement, list[Turn]] = {arrangement: [] for arrangement in both}
            for number in range(options.rounds):
                for arrangement in both:
                    cli.progress(f"{name}, {arrangement.title}, round {number + 1} of {options.rounds}")
                    turns[arrangement].append(take_turn(arrangement, job_flags, WARM_UP_S, options.seconds))
            rows += [Row(workload.title, arrangement, tuple(taken)) for arrangement, taken in turns.items()]
    return rows


if __name__ == "__main__":
    sys.exit(main())
