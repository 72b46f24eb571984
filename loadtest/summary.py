"""From what was measured to the figures of summary.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from loadtest.raw_log import REPORTED, STAGES
from loadtest.reasons import Reason
from loadtest.run_folder import replace_file
from loadtest.statistics.stability import backlog_slope
from loadtest.versions import versions
from pipeline.options.workers import cores

Floats = NDArray[np.float64]

# The schedule is kept when 99 % of the messages leave within this time of when they should.
SCHEDULE_LIMIT_MS = 5.0

LEAST_SLOPE_S = 0.75

# Of the offered rate. A backlog that grows less may be the noise of a short run.
BACKLOG_LIMIT = 0.05


@dataclass(frozen=True)
class Measurement:
    """What a run has recorded. Arrays are by sequence; times are epoch seconds, NaN where there is none.

    Attributes:
        run: Id of the run.
        intended: [n] when each message was due.
        sent_at: [n] when the call that carries it was written to the socket.
        result_at: [n] when its first result was collected.
        dead_letter_at: [n] when its first dead letter was collected.
        stages_ms: [n, 4] `raw_log.REPORTED` of its first result, milliseconds.
        warmup_messages: The first so many are left out of latencies, stages, schedule error and rates.
        window_start: When the measured window began, after the warm-up.
        window_end: When it ended; earlier than scheduled if the run was cut short.
        ended_at: When collection ended: until then a lost request has been waited for.
        duplicates: See `Summary`, as for all that follow.
    """

    run: str
    intended: Floats
    sent_at: Floats
    result_at: Floats
    dead_letter_at: Floats
    stages_ms: Floats
    warmup_messages: int
    window_start: float
    window_end: float
    ended_at: float
    duplicates: int
    publish_errors: int
    foreign: int
    unreadable_results: int = 0
    unacknowledged: int = 0
    dead_letter_reasons: list[Reason] = field(default_factory=list)
    auc: float | None = None
    auc_note: str | None = None
    error: str | None = None
    last_publish_error: str | None = None


@dataclass(frozen=True)
class Summary:
    """The figures of one run. None means that there is no such figure, never zero.

    Counts are over the whole run. Percentiles and rates are over the measured window, which begins after the
    warm-up. Percentiles are exact: NumPy's linear interpolation between order statistics of all values.

    Attributes:
        run: Id of the run.
        sent: Messages handed over for publishing, whatever became of them.
        received: Distinct requests with a result.
        duplicates: Deliveries beyond the first of each request.
        dead_lettered: Distinct requests with a dead letter.
        answered_both: Distinct requests with a result and a dead letter.
        lost: Sent - distinct requests answered either way.
        publish_errors: Messages whose publishing failed for good; unanswered ones are among the lost.
        foreign: Deliveries that were not of this run; they were left unacknowledged.
        unreadable_results: Results that are not a JSON object.
        unacknowledged: Deliveries of this run that could not be acknowledged.
        warmup_messages: Messages sent before the window.
        dead_letter_reasons: Why requests became dead letters, the commonest first.
        censored: Lost requests in the percentiles of the latency.
        offered_rate: Messages due in the window / length of the window, 1/s.
        achieved_rate: Distinct answered requests of the window / time from its start to its end or the last
            of their first answers, whichever is later, 1/s. It cannot exceed the offered rate; it falls below
            when answers lag.
        backlog_slope: Growth of sent - answered, messages a second, from the window's first tenth to its last
            (`statistics.stability`).
        schedule_error_ms: Written to the socket - due.
        latency_ms: First answer (result or dead letter) - due. A lost request enters with the time it was
            waited for, less than its latency would have been (it is censored); leaving it out would flatter
            the percentiles.
        stages_ms: As the results report them. server lies inside inference; rest = end to end - what is known
            of queue, batch_wait and inference, where any is.
        auc: ROC AUC of the predictions for the bundled example's records.
        auc_note: Why there is no auc for them. Of other records there is neither.
        error: What ended the run early: a signal, or what became of the job, the container or the broker.
        last_publish_error: The status and details of the last failure to publish.
        versions: Of Python and of the packages that matter; None for one that is not installed.
        cpus: Processors that the driver may run on.
    """

    run: str
    sent: int
    received: int
    duplicates: int
    dead_lettered: int
    answered_both: int
    lost: int
    publish_errors: int
    foreign: int
    unreadable_results: int
    unacknowledged: int
    warmup_messages: int
    dead_letter_reasons: list[Reason]
    censored: int
    offered_rate: float | None
    achieved_rate: float | None
    backlog_slope: float | None
    schedule_error_ms: dict[str, float | None]
    latency_ms: dict[str, float | None]
    stages_ms: dict[str, dict[str, float | None]]
    auc: float | None
    auc_note: str | None
    error: str | None
    last_publish_error: str | None
    versions: dict[str, str | None]
    cpus: int

    @property
    def schedule_missed(self) -> bool:
        """Whether the driver itself was too slow for its figures to be trusted."""
        p99 = self.schedule_error_ms["p99"]
        return p99 is not None and p99 > SCHEDULE_LIMIT_MS

    @property
    def backlog_grew(self) -> bool:
        """Whether more was sent than was answered, all the time."""
        if self.backlog_slope is None or self.offered_rate is None:
            return False
        return self.backlog_slope > BACKLOG_LIMIT * self.offered_rate

    def failures(self) -> list[str]:
        """Return why the run counts as failed, one line each; a missed schedule is not among them."""
        found = []
        if self.error:
            found.append(self.error)
        if self.publish_errors:
            found.append(
                f"{self.publish_errors:,} messages could not be published: {self.last_publish_error}"
            )
        if self.lost:
            found.append(
                f"lost {self.lost:,} of {self.sent:,} requests: neither a result nor a dead letter in time; "
                "see that the job runs and keeps up, or raise --drain_timeout"
            )
        if self.dead_lettered and not self.received:
            found.append("no request has a result: those that were answered are dead letters")
        if not self.sent and not found:
            found.append("nothing was sent: the schedule holds no message; raise --rate or --duration")
        return found

    def schedule_warning(self) -> str | None:
        """Return one line if the driver missed its schedule, else None."""
        if not self.schedule_missed:
            return None
        return (
            f"the driver missed its schedule: p99 {self.schedule_error_ms['p99']:.1f} ms late, "
            f"limit {SCHEDULE_LIMIT_MS:g} ms; give it a processor of its own or lower --rate"
        )

    def write(self, path: Path) -> None:
        """Write all fields as indented JSON."""
        content = orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        replace_file(path, content)


def summarise(measured: Measurement) -> Summary:
    """Compute the figures; `Summary` has the formula of each."""
    sent = ~np.isnan(measured.sent_at)
    answered_at = np.fmin(measured.result_at, measured.dead_letter_at)
    # A message can be answered before the sender has noted that it left.
    sent |= ~np.isnan(answered_at)
    has_result, has_dead_letter = ~np.isnan(measured.result_at), ~np.isnan(measured.dead_letter_at)
    window = sent & (np.arange(len(sent)) >= measured.warmup_messages)
    answered = window & ~np.isnan(answered_at)
    waited_ms = (np.where(np.isnan(answered_at), measured.ended_at, answered_at) - measured.intended) * 1e3
    latency_ms = waited_ms[window] if answered.any() else np.empty(0)
    censored = int((window & ~answered).sum())
    seconds = measured.window_end - measured.window_start
    offered = float(window.sum() / seconds) if window.any() and seconds > 0 else None
    achieved = None
    if answered.any():
        achieved = float(
            answered.sum() / (max(measured.window_end, answered_at[answered].max()) - measured.window_start)
        )
    return Summary(
        run=measured.run,
        sent=int(sent.sum()),
        received=int(has_result.sum()),
        duplicates=measured.duplicates,
        dead_lettered=int(has_dead_letter.sum()),
        answered_both=int((has_result & has_dead_letter).sum()),
        lost=int((sent & np.isnan(answered_at)).sum()),
        publish_errors=measured.publish_errors,
        foreign=measured.foreign,
        unreadable_results=measured.unreadable_results,
        unacknowledged=measured.unacknowledged,
        warmup_messages=int(sent[: measured.warmup_messages].sum()),
        dead_letter_reasons=measured.dead_letter_reasons,
        censored=censored if len(latency_ms) else 0,
        offered_rate=offered,
        achieved_rate=achieved,
        backlog_slope=_backlog_slope(measured, answered_at),
        schedule_error_ms=_spread(
            (measured.sent_at - measured.intended)[window] * 1e3, ("p50", "p99", "max")
        ),
        latency_ms=_spread(latency_ms, ("p50", "p90", "p95", "p99", "p99_9", "max")),
        stages_ms=_stages(measured, window),
        auc=measured.auc,
        auc_note=measured.auc_note,
        error=measured.error,
        last_publish_error=measured.last_publish_error,
        versions=versions(),
        cpus=cores(),
    )


def _spread(values: Floats, names: tuple[str, ...]) -> dict[str, float | None]:
    """Return the named percentiles ("p99_9" is the 99.9th) of the values that are not NaN."""
    known = values[~np.isnan(values)]
    if not len(known):
        return dict.fromkeys(names)
    ranks = [100.0 if name == "max" else float(name[1:].replace("_", ".")) for name in names]
    return dict(zip(names, np.percentile(known, ranks).tolist(), strict=True))


def _stages(measured: Measurement, window: NDArray[np.bool_]) -> dict[str, dict[str, float | None]]:
    in_turn = slice(len(STAGES))
    chosen = window & ~np.isnan(measured.stages_ms[:, in_turn]).all(axis=1)
    reported = measured.stages_ms[chosen]
    end_to_end = (measured.result_at - measured.intended)[chosen] * 1e3
    rest = end_to_end - np.nansum(reported[:, in_turn], axis=1)
    columns = {name: reported[:, column] for column, name in enumerate(REPORTED)} | {"rest": rest}
    return {name: _spread(values, ("p50", "p99")) for name, values in columns.items()}


def _backlog_slope(measured: Measurement, answered_at: Floats) -> float | None:
    """Return the slope of the number of messages in the system; None for a window that is too short."""
    if measured.window_end - measured.window_start < LEAST_SLOPE_S:
        return None
    return backlog_slope(measured.sent_at, answered_at, measured.window_start, measured.window_end)
