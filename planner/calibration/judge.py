"""Predicted beside published, cell by cell: what was fitted apart from what was predicted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from planner.calibration.fit import (
    SERVICE,
    OneWorker,
    Predicted,
    Service,
    calibrate,
    factor_between,
    predict,
)
from planner.calibration.rows import Published, Row

# Of each configuration's own calibration.
FITTED = (25.0, 50.0, 125.0, 150.0)
# The row that says by how much one GPU is slower than the other.
FACTOR_FROM = 150.0


@dataclass(frozen=True)
class Cell:
    """A row, and what a calibrated worker does with its rate.

    Attributes:
        row: As it was published.
        predicted: By the worker.
        fitted: Whether the worker was calibrated on the row.
    """

    row: Row
    predicted: Predicted
    fitted: bool

    @property
    def right(self) -> bool:
        """Whether it was told whether the worker keeps up."""
        return self.row.kept_up == self.predicted.kept_up

    @property
    def done_error(self) -> float:
        """Predicted over published, less 1."""
        return self.predicted.done / self.row.done - 1

    @property
    def p50_error(self) -> float:
        """Predicted over published, less 1."""
        return self.predicted.p50_ms / self.row.p50_ms - 1


@dataclass(frozen=True)
class Judged:
    """One configuration.

    Attributes:
        name: In words.
        worker: That was calibrated.
        cells: By what was offered.
    """

    name: str
    worker: OneWorker
    cells: tuple[Cell, ...]

    @property
    def predicted(self) -> list[Cell]:
        """The cells that the worker was not calibrated on."""
        return [cell for cell in self.cells if not cell.fitted]


def by_configuration(published: Published, seed: int, service: Service = SERVICE) -> list[Judged]:
    """Calibrate each configuration on its rows of `FITTED`, and predict its others."""
    found = []
    for gpu, mode in sorted({(row.gpu, row.mode) for row in published.rows}):
        rows = published.of(gpu, mode)
        fitted = [row for row in rows if row.offered in FITTED]
        one = calibrate(fitted, seed, published.source, service)
        found.append(Judged(_name(gpu, mode), one, _cells(one, rows, FITTED, seed)))
    return found


def carried_over(
    published: Published, known: str, other: str, seed: int, service: Service = SERVICE
) -> list[tuple[Judged, float]]:
    """Calibrate on all rows of one GPU, and carry each law to another by one factor, from one of its rows.

    Returns:
        Of each mode the other GPU's rows, of which the factor's counts as fitted; and the factor.
    """
    found = []
    for mode in sorted({row.mode for row in published.rows}):
        one = calibrate(published.of(known, mode), seed, published.source, service)
        rows = published.of(other, mode)
        (of_factor,) = (row for row in rows if row.offered == FACTOR_FROM)
        factor = factor_between(one, of_factor, seed)
        slower = one.times(factor, f"done rate of {FACTOR_FROM:g} messages/s on the {other}")
        cells = _cells(slower, rows, (FACTOR_FROM,), seed)
        found.append((Judged(f"{_name(other, mode)}, by the {known}", slower, cells), factor))
    return found


def _name(gpu: str, mode: str) -> str:
    return f"{gpu} endpoint" if mode == "endpoint" else f"{gpu} in the worker"


def _cells(one: OneWorker, rows: Sequence[Row], fitted: Collection[float], seed: int) -> tuple[Cell, ...]:
    return tuple(Cell(row, predict(one, row.offered, seed), row.offered in fitted) for row in rows)
