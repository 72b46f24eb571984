"""The processes of an experiment that drives a live job: the broker, and the job itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from broker.testing import BrokerProcess, embedded_broker
from local import children
from local.topics import Topics

ROOT = Path(__file__).parents[2]
_EMULATOR = "PUBSUB_EMULATOR_HOST"


@contextmanager
def pubsub() -> Iterator[BrokerProcess]:
    """Start the embedded broker, and have this process and those that it starts use it."""
    with embedded_broker() as broker:
        before = os.environ.get(_EMULATOR)
        os.environ[_EMULATOR] = broker.address
        try:
            yield broker
        finally:
            if before is None:
                del os.environ[_EMULATOR]
            else:
                os.environ[_EMULATOR] = before


def our_job(topics: Topics, *flags: str) -> list[str]:
    """Return the command of this project's job between these topics."""
    return [sys.executable, "-m", "pipeline", *topics.job_arguments(), *flags]


def stock_job(topics: Topics, folder: Path) -> list[str]:
    """Return the command of stock Beam's job between these topics; it writes its weights into the folder."""
    return with_stocks_handler("benchmarks.harness.stock_job", topics, folder)


def with_stocks_handler(module: str, topics: Topics, folder: Path) -> list[str]:
    """Return the command of a job that takes the flags of `stock_job`."""
    return [
        *(sys.executable, "-m", module),
        f"--input_subscription={topics.input_subscription}",
        f"--output_topic={topics.output_topic}",
        f"--state_dict={folder / 'state_dict.pt'}",
    ]


@contextmanager
def running_job(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process. At the end ask it to stop, and after 15 s end it by force."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is this process's to handle
        )
    try:
        yield process
    finally:
        try:
            children.stop(process)
        finally:  # where a second Ctrl-C cuts the waiting short
            process.kill()
            process.wait()
