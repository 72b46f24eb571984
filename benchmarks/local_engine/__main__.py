"""`python -m benchmarks.local_engine`: how much a job carries on one machine, stock Beam beside this project.

Three jobs, each a process of its own, between the same broker (another process) and the same load driver
(this process): (a) stock Beam, (b) this project's source and sink around stock's model handler, (c) this
project's job. Each climbs a fixed ladder of rates until a step fails. A step is sustained when every request
sent has its result and the backlog grows by less than 1 % of the rate.
"""

import argparse
import math
import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.console import Console

from benchmarks.harness.processes import JobEndedError, UsageMeter, running_job
from benchmarks.local_engine import report
from benchmarks.local_engine.ladder import Row, Step, is_sustained
from broker.testing import BrokerProcess, embedded_broker
from loadtest.interrupt import stop_on_signals
from loadtest.options import RunOptions
from loadtest.run import RunError, run
from local.run import EXAMPLE, PROJECT, Topics

TITLES = {
    "a": "stock Beam",
    "b": "our source and sink, stock handler",
    "c": "ours",
}
# Steps of about 40 s. Stock fails after a few of the fine ones, which the others skip, so that all three rows
# end within about 15 minutes on two cores.
LADDERS = {
    "a": (50.0, 100.0, 150.0, 200.0, 250.0, 300.0, 500.0, 1000.0),
    "b": (100.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0),
    "c": (100.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 6000.0, 7000.0),
}
# An overloaded job would need minutes to work off its backlog, and the step has failed by then.
DRAIN_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Flags:
    """The command line. Times in seconds, rates in msg/s; without rates each row has its own ladder."""

    json: Path | None
    seconds: float
    warmup: float
    rates: tuple[float, ...] | None
    rows: tuple[str, ...]


def parse(arguments: Sequence[str] | None) -> Flags:
    """Flags from a command line; exits with code 2 for wrong ones."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.local_engine", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--json", metavar="FILE", type=_file, help="also write the raw figures here")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="measured at each step (default: %(default)g)"
    )
    parser.add_argument(
        "--warmup", type=float, default=5.0, help="seconds sent before that (default: %(default)g)"
    )
    parser.add_argument(
        "--rates", metavar="N,N", type=_rates, help="msg/s, for every row (default: a ladder for each row)"
    )
    parser.add_argument(
        "--rows", metavar="X,X", type=_rows, default=tuple(TITLES), help="of a, b, c (default: all)"
    )
    flags = Flags(**vars(parser.parse_args(arguments)))
    # Below a second there are too few samples of the backlog for a slope.
    if not 1 <= flags.seconds < math.inf or not 0 <= flags.warmup < math.inf:
        parser.error("--seconds must be at least 1 and --warmup at least 0")
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when every row was climbed, 1 when a job failed, 130 after Ctrl-C."""
    flags = parse(arguments)
    rows = [Row(key, TITLES[key], flags.rates or LADDERS[key]) for key in flags.rows]
    with stop_on_signals() as stop, embedded_broker() as broker:
        before = os.environ.get("PUBSUB_EMULATOR_HOST")
        os.environ["PUBSUB_EMULATOR_HOST"] = broker.address  # of the driver here, and of the jobs
        try:
            for row in rows:
                with tempfile.TemporaryDirectory(prefix="local-engine-") as folder:
                    climb(row, broker, flags, Path(folder), stop)
        finally:
            if before is None:
                del os.environ["PUBSUB_EMULATOR_HOST"]
            else:
                os.environ["PUBSUB_EMULATOR_HOST"] = before
    # Without a terminal rich assumes 80 columns.
    console = Console(width=None if sys.stdout.isatty() else 100)
    report.show(console, rows)
    if flags.json:
        figures = {"flags": flags, "interrupted": stop.is_set(), **report.figures(rows)}
        flags.json.write_bytes(orjson.dumps(figures, default=str, option=orjson.OPT_INDENT_2))
    if stop.is_set():
        return 130
    return 1 if any(row.error for row in rows) else 0


def job_command(key: str, topics: Topics, folder: Path) -> list[str]:
    """The command of a row's job; `folder` is for its files."""
    if key == "c":
        return [
            *(sys.executable, "-m", "pipeline"),
            *topics.job_arguments(),
            f"--model_path={EXAMPLE / 'model.pt2'}",
        ]
    return [
        *(
            sys.executable,
            "-m",
            {"a": "benchmarks.harness.stock_job", "b": "benchmarks.local_engine.hybrid_job"}[key],
        ),
        f"--input_subscription={topics.input_subscription}",
        f"--output_topic={topics.output_topic}",
        f"--state_dict={folder / 'state_dict.pt'}",
    ]


def climb(row: Row, broker: BrokerProcess, flags: Flags, folder: Path, stop: threading.Event) -> None:
    """Drives a row's job step by step until `stop` is set or a step has failed twice.

    The second time with a fresh job: one stall of a shared machine must not pass for what a job carries.
    """
    left = list(row.ladder)
    failed_before = False
    while left and not stop.is_set():
        topics = Topics.fresh(secrets.token_hex(4))
        topics.create()
        log = folder / "job.log"
        with running_job(job_command(row.key, topics, folder), log) as job:
            others = {"broker": broker.group, "driver": os.getpid()}
            while left:
                meter = UsageMeter(job, log, others, flags.warmup, flags.seconds)
                try:
                    step = measure(row, left[0], topics, meter, flags, folder / "driver", stop)
                except (JobEndedError, RunError) as error:
                    row.error = str(error)
                    report.progress(f"    {error}")
                    return
                if stop.is_set():
                    return  # what was cut short is no step
                row.steps.append(step)
                report.progress(report.one_line(step))
                if not step.sustained:
                    break
                del left[0]
                failed_before = False
        if left:
            if failed_before:
                return
            failed_before = True


def measure(
    row: Row, rate: float, topics: Topics, meter: UsageMeter, flags: Flags, out: Path, stop: threading.Event
) -> Step:
    """One step: drives the running job at `rate` msg/s.

    Raises:
        JobEndedError: the job has ended.
        RunError: it does not answer.
    """
    report.progress(f"({row.key}) {row.title}: {rate:g} msg/s for {flags.warmup:g} + {flags.seconds:g} s")
    options = RunOptions(
        project=PROJECT,
        input_topic=topics.input_topic,
        output_subscription=topics.output_subscription,
        dead_letter_subscription=topics.dead_letter_subscription,
        rate=rate,
        duration=flags.seconds,
        warmup=flags.warmup,
        input=EXAMPLE / "records.jsonl",
        out=out,
        drain_timeout=DRAIN_TIMEOUT_S,
    )
    summary = run(options, display=meter, stop=stop)
    return Step(rate, summary, meter.usage(), is_sustained(rate, summary), summary.schedule_missed)


def _file(text: str) -> Path:
    # Checked now rather than after a quarter of an hour.
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a file in a folder that exists")
    return path


def _rates(text: str) -> tuple[float, ...]:
    rates = sorted({float(part) for part in text.split(",")})
    if not 0 < rates[0] <= rates[-1] < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: each rate must be above 0")
    return tuple(rates)


def _rows(text: str) -> tuple[str, ...]:
    rows = tuple(sorted(set(text.split(","))))
    if not set(rows) <= TITLES.keys():
        raise argparse.ArgumentTypeError(f"{text!r}: the rows are {', '.join(TITLES)}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
