"""What `benchmarks.serving` measures: throughput, latency and processor time of servers that take turns."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.harness import cli
from benchmarks.harness.processes import children, cpu_seconds
from benchmarks.serving import wrk
from benchmarks.serving.checking import WrongError, check
from benchmarks.serving.served_models import ServedModel, forward_us
from benchmarks.serving.servers import SERVERS, LeftOutError, Running, Setup, running

_WARM_UP_S = 1.0
# Before any thread was moved to some of them.
_USABLE = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@dataclass(frozen=True)
class Case:
    """What all servers do in turn.

    Attributes:
        model: AUTOENCODER or MLP.
        body: JSON or BINARY.
        cores: Of the server, which has as many workers.
        at_once: Calls in flight.
    """

    model: str
    body: str
    cores: int
    at_once: int


@dataclass(frozen=True)
class Figures:
    """One measurement.

    Attributes:
        rate: Calls answered in a second.
        p50_ms: Of the time of a call, milliseconds, as p99_ms.
        cpu_us: Processor time of all of the server's processes, microseconds a call.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


@dataclass(frozen=True)
class Cell:
    """What a server came to in a case.

    Attributes:
        server: Its title.
        rounds: The measurements, one a round.
        failure: Why there are no figures: not started, a failed call, or a wrong answer; else "".
    """

    case: Case
    server: str
    rounds: tuple[Figures, ...]
    failure: str = ""


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        servers: Titles, in the order of their turns.
        bodies: Of `BODIES`.
        cores: Numbers of them.
        at_once: Calls in flight.
        rounds: Of turns.
        seconds: Of a measurement.
    """

    servers: Sequence[str]
    bodies: Sequence[str]
    cores: Sequence[int]
    at_once: Sequence[int]
    rounds: int
    seconds: int


@dataclass
class _Kept:
    """What is known of a server while it takes its turns."""

    rounds: dict[int, list[Figures]]
    failures: dict[int, str] = field(default_factory=dict)


def measure(model: ServedModel, plan: Plan) -> tuple[list[Cell], list[float]]:
    """Measure a model on all servers.

    Returns:
        The cells, and the processor time of the plain forward pass in each round, microseconds a row.
    """
    cells: list[Cell] = []
    forwards: list[float] = []
    for cores in plan.cores:
        for body in plan.bodies:
            titles = [title for title in plan.servers if body in SERVERS[title].forms]
            with tempfile.TemporaryDirectory() as folder:
                cells += _turns(model, body, cores, titles, plan, Path(folder), forwards)
    return cells, forwards


def _turns(
    model: ServedModel,
    body: str,
    cores: int,
    titles: Sequence[str],
    plan: Plan,
    folder: Path,
    forwards: list[float],
) -> list[Cell]:
    kept = {title: _Kept({at_once: [] for at_once in plan.at_once}) for title in titles}
    with ExitStack() as stack:
        started: dict[str, tuple[Running, Path]] = {}
        for number, title in enumerate(titles):
            own = folder / str(number)
            own.mkdir()
            cli.progress(f"{model.name}, {body}, cores: {cores}: starting {title}")
            try:
                with _on(server_cores(cores)):
                    server = stack.enter_context(running(title, Setup(model, body, cores, own)))
            except LeftOutError as error:
                cli.progress(f"{title} is left out: {error}")
                kept[title].failures = dict.fromkeys(plan.at_once, f"left out: {error}")
                continue
            (own / "calls").mkdir()
            started[title] = server, wrk.write_script(server.form, model, own / "calls")
        stack.enter_context(_on({load_core(cores)}))
        for number in range(plan.rounds):
            cli.progress(f"{model.name}, {body}, cores: {cores}: round {number + 1} of {plan.rounds}")
            forwards.append(forward_us(model))
            for title, (server, script) in started.items():
                _turn(server, script, model, plan, kept[title])
    return [
        Cell(Case(model.name, body, cores, at_once), title, tuple(rounds), each.failures.get(at_once, ""))
        for title, each in kept.items()
        for at_once, rounds in each.rounds.items()
    ]


def _turn(server: Running, script: Path, model: ServedModel, plan: Plan, kept: _Kept) -> None:
    """Measure a server once at each number of calls at once, as far as it has not failed there."""
    for at_once in plan.at_once:
        if at_once in kept.failures:
            continue
        try:
            check(server.url, server.form, model)
            wrk.run(server.url, script, at_once, _WARM_UP_S)
            before = _cpu_seconds(server.pid)
            load = wrk.run(server.url, script, at_once, plan.seconds)
            used = _cpu_seconds(server.pid) - before
        except (WrongError, wrk.LoadError) as error:
            kept.failures[at_once] = str(error)
            continue
        if load.refused or load.not_answered or not load.calls:
            kept.failures[at_once] = (
                f"of {load.calls} calls {load.refused} were refused and {load.not_answered} not answered"
            )
            continue
        rate = load.calls / load.seconds
        kept.rounds[at_once].append(Figures(rate, load.p50_ms, load.p99_ms, 1e6 * used / load.calls))


def server_cores(cores: int) -> set[int]:
    """Return the first cores of those that this process may use: the server's.

    Raises:
        ValueError: There are not so many.
    """
    if len(_USABLE) < cores:
        raise ValueError(f"{cores} cores are wanted, and this process may use {len(_USABLE)}")
    return set(_USABLE[:cores])


def load_core(cores: int) -> int:
    """Return the core of the load: one that the server has not, if there is any."""
    return _USABLE[min(cores, len(_USABLE) - 1)]


@contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """Have this thread, and the processes that it starts meanwhile, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and of all below it."""
    return cpu_seconds(pid) + sum(map(_cpu_seconds, children(pid)))
