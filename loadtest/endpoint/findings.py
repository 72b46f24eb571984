"""All that is found out about one endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadtest.endpoint.batch_sizes import BatchSize, Throughput
from loadtest.endpoint.connections import ConnectionCost, FirstCall
from loadtest.endpoint.load_figures import LoadFigures
from loadtest.endpoint.rates import Degradation
from loadtest.endpoint.service_law import ServiceLaw


@dataclass(frozen=True)
class Load:
    """A schedule's figures.

    Attributes:
        figures: Of it.
        met: Whether it met the objectives.
    """

    figures: LoadFigures
    met: bool


@dataclass
class EndpointReport:
    """What was measured; None for what was not come to.

    Attributes:
        run: Its id.
        url: That was called.
        protocol: Of the calls.
        objectives: As they were written.
        healthy_after_s: Seconds that the endpoint took to start, where it was started for this.
        first: The first call of all.
        connection: A new connection against a kept one.
        sizes: Each batch size, ascending.
        law: Time of a call at an idle endpoint by its rows.
        best: The best batch size; None where none meets the objectives, too.
        connections: What is possible with each number of connections, at the best size.
        degradation: The search for the rate.
        schedule: What was sent in place of the search, as the flags say it; empty for the search.
        loads: Its figures, for each batch size.
        invalid: Why a figure is the driver's own and not the endpoint's; empty where none is.
        partial: What ended it early; None for nothing.
        raw_logs: Folders of the raw logs, below the run's.
    """

    run: str
    url: str
    protocol: str
    objectives: str
    healthy_after_s: float | None = None
    first: FirstCall | None = None
    connection: ConnectionCost | None = None
    sizes: list[BatchSize] = field(default_factory=list)
    law: ServiceLaw | None = None
    best: int | None = None
    connections: list[Throughput] = field(default_factory=list)
    degradation: Degradation | None = None
    schedule: str = ""
    loads: list[Load] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    partial: str | None = None
    raw_logs: list[str] = field(default_factory=list)
