"""A plan as one HTML file, with the parts of the load lab's report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from launch.rules.endpoint import machine_of
from loadtest.figures import figure
from loadtest.raw_log import Floats
from loadtest.report.chart import Chart, Line
from loadtest.report.embedding import NumberedCharts, embedded, templates
from planner.answer import KEPT_UP, NOT_IN_IT, Answer, where_from
from planner.assembly import PlanError
from planner.cost.amount import exactly
from planner.cost.prices import read_prices
from planner.cost.run_cost import ReplicaShape, WorkerShape, replicas_cost, workers_cost
from planner.timeline import bands

_PAGE = Path(__file__).parent / "page"
_POINTS = 300
_LATENCY_POINTS = 60
_YES = {True: "yes", False: "no"}
_BAND, _CENTRAL, _OTHER = 0, 1, 3


def to_html(answer: Answer) -> str:
    """Return the page; it needs no network, and whatever the user wrote is escaped."""
    prediction, configuration = answer.prediction, answer.prediction.question.configuration
    drawn = NumberedCharts()
    numbered = drawn.add(charts(answer))
    update = configuration.update_line
    return (
        templates(_PAGE)
        .get_template("plan.html")
        .render(
            answer=answer,
            keeps_up=answer.keeps_up_share == 1,
            workload=prediction.question.workload.text,
            profile=where_from(prediction),
            mistakes=prediction.mistakes,
            figures=[
                (
                    f"{row.name}, {row.unit}" if row.unit else row.name,
                    figure(row.central),
                    f"{figure(row.low)} – {figure(row.high)}",
                    figure(row.worst),
                )
                for row in answer.rows
            ],
            numbered=numbered,
            amounts=[str(each) for each in (answer.bill.hour, answer.bill.million, answer.bill.month)],
            prices=[
                (price.name, f"{price.value:g}", price.unit, price.date, _YES[price.verified], price.source)
                for price in answer.bill.hour.prices
            ],
            lines=[*configuration.launch_lines, *([update] if update else [])],
            grounds=[(each.what, each.value, each.basis, each.source) for each in prediction.grounds],
            not_in_it=NOT_IN_IT,
            **embedded(drawn),
        )
    )


def write_page(path: Path, answer: Answer) -> None:
    """Write the page.

    Raises:
        PlanError: The file cannot be written.
    """
    try:
        path.write_text(to_html(answer))
    except OSError as error:
        raise PlanError(f"--out: {path} cannot be written: {error.strerror}") from error


def charts(answer: Answer) -> list[Chart]:
    """Return the charts over time: workers, replicas, backlog, latency, utilisation, cost."""
    timeline = answer.prediction.timeline
    count = len(timeline.times) - 1
    places = np.unique(np.linspace(0, count - 1, min(count, _POINTS)).astype(np.int64))
    times = timeline.times[1:][places]

    def series(name: str) -> Floats:
        return timeline[name][places]

    found = [_banded("Workers", "workers that are ready", times, series("workers"), "")]
    if answer.prediction.job.endpoint:
        found.append(_banded("Replicas", "replicas that are ready", times, series("replicas"), ""))
    found += [
        _banded("Backlog", "messages that wait", times, series("backlog"), "messages"),
        _latency(answer),
        _banded("CPU of workers", "mean utilisation of their vCPUs", times, 100 * series("cpu"), "%"),
    ]
    if answer.prediction.job.endpoint:
        found.append(_banded("CPU of replicas", "mean utilisation", times, 100 * series("replica_cpu"), "%"))
    return [*found, _cost(answer, times, places)]


def _banded(title: str, what: str, times: Floats, values: Floats, unit: str) -> Chart:
    low, central, high = bands(values)
    most, mean = figure(float(central.max())), figure(float(central.mean()))
    text = f"{what}: by the defaults {most} at most, {mean} in the mean."
    lines = [
        Line("defaults", central, _CENTRAL),
        Line("P10", low, _BAND, "dashed"),
        Line("P90", high, _BAND, "dashed"),
    ]
    return Chart(title, text, unit, "lines", "time", times, lines)


def _latency(answer: Answer) -> Chart:
    prediction = answer.prediction
    seconds = prediction.question.workload.duration_s
    edges = np.linspace(0.0, seconds, _LATENCY_POINTS + 1)
    lines = []
    for percent, color in ((50.0, _CENTRAL), (99.0, _OTHER)):
        values = prediction.latencies.over_time(edges, percent) * 1e3
        low, central, high = bands(values)
        name = f"p{percent:.0f}"
        lines += [
            Line(name, central, color),
            Line(f"{name}, P10", low, _BAND, "dashed"),
            Line(f"{name}, P90", high, _BAND, "dashed"),
        ]
    kept = "all" if prediction.done_share[0] >= KEPT_UP else f"{prediction.done_share[0]:.1%}"
    text = f"By when a message came, from publishing to its result; {kept} of them are answered by the end."
    return Chart("Latency", text, "ms", "lines", "time", edges[1:], lines, logarithmic=True)


def _cost(answer: Answer, times: Floats, places: NDArray[np.int64]) -> Chart:
    """Return what workers and replicas cost at each moment; the rest of the bill goes with the messages."""
    prediction, book = answer.prediction, read_prices()
    configuration = prediction.question.configuration
    shape = WorkerShape(prediction.shape.machine_type, configuration.run.gpu)
    amount = workers_cost(exactly(1.0), shape, book)
    usd = prediction.timeline["wanted_workers"][places] * amount.as_json()["usd"]
    if configuration.endpoint:
        replica = ReplicaShape(machine_of(configuration.endpoint), configuration.endpoint.endpoint_gpu)
        more = replicas_cost(exactly(1.0), replica, book)
        usd = usd + prediction.timeline["wanted_replicas"][places] * more.as_json()["usd"]
        amount = amount + more
    chart = _banded("Cost of machines", "dollars an hour of workers and replicas", times, usd, "$ an hour")
    return Chart(
        chart.title, f"{chart.text} At {amount.dates}.", chart.unit, "lines", "time", times, chart.lines
    )
