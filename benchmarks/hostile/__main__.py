"""`python -m benchmarks.hostile`: good requests beside hostile inputs, at a live job and a live container.

Four targets: hostile messages at the job, hostile calls at the container, hostile model files where the
job's pointer leads, and hostile answers of the job's endpoint. Each takes turns without and with hostile
inputs, each turn with processes of its own. The good requests are the example's records, on a schedule; each
answer is held against the model's. What an endpoint's hostile answer was the answer to is a good request,
which is tried again after a pause: so there is no goal for that p99.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import cli, results
from benchmarks.hostile import container, job, report
from benchmarks.hostile.good import Good
from benchmarks.hostile.measures import Load, Measured, Turn

TakeTurn = Callable[[Good, Load, float | None, Path], Turn]
TARGETS: dict[str, TakeTurn] = {
    "job": job.beside_messages,
    "container": container.beside_calls,
    "files": job.beside_files,
    "answers": job.beside_answers,
}


@dataclass(frozen=True)
class Options:
    """The command line.

    Attributes:
        rate: Good requests a second.
        seconds: Of each turn.
        every: Seconds between two hostile inputs.
        rounds: Pairs of turns.
    """

    rate: float
    seconds: float
    every: float
    rounds: int
    targets: tuple[str, ...]
    out: Path


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = cli.new_parser("hostile", __doc__)
    cli.add_number(parser, "--rate", 200.0, "good requests a second")
    cli.add_number(parser, "--seconds", 30.0, "of each turn")
    cli.add_number(parser, "--every", 0.5, "seconds between two hostile inputs")
    cli.add_number(parser, "--rounds", 2, "pairs of turns, one without hostile inputs and one with")
    cli.add_names(parser, "--targets", TARGETS)
    cli.add_out(parser, "gets hostile.json and hostile.txt")
    options = Options(**vars(parser.parse_args(arguments)))
    if not all(cli.is_positive(number) for number in (options.rate, options.seconds, options.every)):
        parser.error("--rate, --seconds and --every above 0")
    if options.rounds < 1:
        parser.error("--rounds at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure. Return 0 whether or not the goals are met."""
    options = parse(arguments)
    good = Good.read()
    measured = [measure(target, options, good) for target in options.targets]
    results.publish(
        options.out,
        "hostile",
        lambda console: report.show(console, options.rate, options.every, measured),
        report.figures(options.rate, options.every, measured),
    )
    return 0


def measure(target: str, options: Options, good: Good) -> Measured:
    """Take a target's turns, in pairs."""
    load = Load(options.rate, options.seconds)
    turns: dict[bool, list[Turn]] = {False: [], True: []}
    for number in range(options.rounds):
        for hostile, taken in turns.items():
            title = "beside hostile inputs" if hostile else "alone"
            cli.progress(f"{target}, {title}, round {number + 1} of {options.rounds}")
            with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
                every = options.every if hostile else None
                taken.append(TARGETS[target](good, load, every, Path(folder)))
    return Measured(target, quiet=turns[False], hostile=turns[True], p99_held=target != "answers")


if __name__ == "__main__":
    sys.exit(main())
