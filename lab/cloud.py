"""What Cloud Monitoring tells of a job and an endpoint: whether they are up, and later how they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest.clock import Clock, epoch_clock
from loadtest.driver.errors import RunError
from loadtest.interrupt import Stop
from loadtest.metrics.cloud import CloudMetrics
from loadtest.metrics.cloud_metrics import Watched
from loadtest.metrics.monitoring_api import MonitoringApi
from loadtest.metrics.readiness import NotUpError, wait_until_up
from loadtest.raw_log import RawLog, Series
from pipeline.inference.endpoint.token import TokenSource
from pipeline.options.google_api import MONITORING, MONITORING_OVERRIDE, api_url
from pipeline.request.errors import EndpointError, TransientError

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Cloud:
    """Cloud Monitoring, and what is watched there.

    Attributes:
        api: What answers.
        watched: A job, its input subscription, an endpoint: at least one of them.
        clock: Epoch seconds.
    """

    api: MonitoringApi
    watched: Sequence[Watched]
    clock: Clock

    def wait_until_up(self, timeout_s: float, stop: Stop, tell: Tell) -> None:
        """Return once all workers and replicas are up, or `stop` is set; 0 seconds: at once.

        Raises:
            RunError: Some are missing at the end of the time.
        """
        if not timeout_s:
            return
        try:
            wait_until_up(self.api, self.watched, self.clock, stop.wait, tell, timeout_s)
        except NotUpError as error:
            raise RunError(str(error)) from error

    def add_to(self, folder: Path, stop: Stop, tell: Tell) -> RawLog:
        """Add the metrics of a run to its raw log, and return that.

        The log is written once more as a whole, so that an interrupt leaves the old one or the new one.

        Args:
            folder: Of the run.
            stop: Once set, what there is by then has to do.
            tell: Gets a line before each wait, and one for each reason that something is missing.

        Raises:
            RawLogError: The folder holds no raw log.
        """
        log = RawLog.read(folder)
        metrics = CloudMetrics(self.api, self.watched, self.clock, stop.wait, tell)
        found = metrics.collect(log.facts.started, log.facts.ended_at)
        for line in missing(found.series):
            tell(line)
        samples = sorted((*log.samples, *found.samples), key=lambda sample: sample.at)
        series = {**log.series, **{one.name: one for one in found.series}}
        log = replace(log, series=series, samples=tuple(samples))
        log.write(folder)
        return log


@contextmanager
def opened(watched: Sequence[Watched], stop: Stop) -> Iterator[Cloud | None]:
    """Open Cloud Monitoring with the application default credentials; None where nothing is watched.

    Raises:
        RunError: There are no credentials, or the address in the environment is not fit for them.
    """
    if not watched:
        yield None
        return
    try:
        url = api_url(MONITORING_OVERRIDE, MONITORING)
        tokens = TokenSource.default()
    except (ValueError, EndpointError, TransientError) as error:
        raise RunError(f"Cloud Monitoring cannot be asked: {error}") from error
    with closing(tokens), closing(MonitoringApi(tokens, url, stop.wait)) as api:
        yield Cloud(api, watched, epoch_clock())


def missing(series: Sequence[Series]) -> list[str]:
    """Return a line for each reason that series are missing, in whole or in part."""
    names: dict[str, list[str]] = {}
    for one in series:
        if one.unavailable:
            names.setdefault(one.unavailable, []).append(one.name)
    return [f"{', '.join(of_reason)}: {reason}" for reason, of_reason in names.items()]
