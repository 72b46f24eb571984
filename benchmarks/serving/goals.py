"""How ours stands to the peers, and to the goals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.harness.verdict import Verdict
from benchmarks.serving.bodies import BINARY, JSON
from benchmarks.serving.measures import Case, Cell, Figures
from benchmarks.serving.served_models import MLP
from benchmarks.serving.servers import OURS, TRITON

MANY = 64  # calls at once at which most goals are set
OF_TRITON = {1: 1.0, 8: 1.0, MANY: 1.2}  # times Triton's throughput, at least, by calls at once
BEYOND_FORWARD_US = {BINARY: 60.0, JSON: 110.0}  # processor time of a call of the MLP, at most


Figure = Callable[[Figures], float]


def rate(figures: Figures) -> float:
    """Return requests a second."""
    return figures.rate


def p50_ms(figures: Figures) -> float:
    """Return the median time of a call in milliseconds."""
    return figures.p50_ms


def p99_ms(figures: Figures) -> float:
    """Return the 99th percentile of the time of a call in milliseconds."""
    return figures.p99_ms


def cpu_us(figures: Figures) -> float:
    """Return the processor time of a call in microseconds."""
    return figures.cpu_us


def ratio(ours: Cell, other: Cell, figure: Figure) -> float:
    """Return the median of the rounds' ratios, ours to another's; NaN where one of them has failed."""
    if ours.failure or other.failure:
        return math.nan
    pairs = zip(ours.rounds, other.rounds, strict=False)
    # Of the same round: what else the machine did then, it did to both.
    return statistics.median(figure(mine) / figure(theirs) for mine, theirs in pairs)


def median(cell: Cell, figure: Figure) -> float:
    """Return the median of the rounds; NaN where the server has failed."""
    return math.nan if cell.failure else statistics.median(map(figure, cell.rounds))


def by_case(cells: Iterable[Cell]) -> dict[Case, dict[str, Cell]]:
    """Return the cells by case and server."""
    found: dict[Case, dict[str, Cell]] = {}
    for cell in cells:
        found.setdefault(cell.case, {})[cell.server] = cell
    return found


def verdicts(cells: Sequence[Cell], forwards: Mapping[str, Sequence[float]]) -> list[Verdict]:
    """Return a verdict for each goal and case of which ours and, where it needs one, a peer was measured.

    Args:
        cells: Of all models.
        forwards: Processor time of the plain forward pass by model, microseconds a row, in each round.
    """
    found = []
    for case, servers in by_case(cells).items():
        if (ours := servers.get(OURS)) is None:
            continue
        peers = [cell for title, cell in servers.items() if title != OURS]
        if case.body == JSON and case.at_once == MANY and peers:
            rates = {cell.server: ratio(ours, cell, rate) for cell in peers}
            # A peer that has failed is none to be held against.
            served = [(value, title) for title, value in rates.items() if not math.isnan(value)]
            value, title = min(served, default=(math.nan, "none"))
            found.append(_verdict(case, f"throughput / best peer's ({title})", value, 1.0, above=True))
        if (triton := servers.get(TRITON)) is not None:
            found += _beside_triton(case, ours, triton)
        if case.model == MLP and case.at_once == MANY and case.cores == 1 and forwards.get(MLP):
            beyond = median(ours, cpu_us) - statistics.median(forwards[MLP])
            name = "processor time beyond the forward pass"
            found.append(_verdict(case, name, beyond, BEYOND_FORWARD_US[case.body], above=False, unit=" µs"))
    return found


def _beside_triton(case: Case, ours: Cell, triton: Cell) -> list[Verdict]:
    found = []
    throughput = ratio(ours, triton, rate)
    if case.body == JSON:
        found.append(_verdict(case, "throughput / Triton's", throughput, OF_TRITON[case.at_once], above=True))
        late = ratio(ours, triton, p99_ms)
        found.append(_verdict(case, "p99 / Triton's", late, 1.0, above=False))
    elif case.at_once == MANY:
        found.append(_verdict(case, "throughput / Triton's", throughput, 1.0, above=True))
    if case.at_once == MANY:
        used = ratio(ours, triton, cpu_us)
        found.append(_verdict(case, "processor time / Triton's", used, 1.0, above=False))
    return found


def _verdict(case: Case, what: str, value: float, goal: float, *, above: bool, unit: str = "") -> Verdict:
    cores = "1 core" if case.cores == 1 else f"{case.cores} cores"
    name = f"{case.model}, {case.body}, {cores}, {case.at_once} at once: {what}"
    return Verdict(name, value, goal, above, unit)
