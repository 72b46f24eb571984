"""A search of a cloud job: what Cloud Monitoring tells of its runs, late, and whether its workers are up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from lab import cloud as cloud_module
from lab import search as module
from lab.cloud import Cloud, missing, opened
from lab.found import Found
from lab.probing import Probed
from lab.report import report_command
from lab.search import add_cloud_metrics, find
from lab.search_command import parse_search, search_command
from lab.target import Target, started
from loadtest.analysis.analyse import analyse
from loadtest.analysis.settings import Settings, keep
from loadtest.driver.errors import RunError
from loadtest.driver.system import System
from loadtest.interrupt import Stop
from loadtest.metrics.monitoring_api import MonitoringApi
from loadtest.raw_log import RawLog, Series
from loadtest.search.probes import Probe
from pipeline.inference.endpoint.token import TokenSource
from pipeline.options.google_api import MONITORING_OVERRIDE
from pipeline.request.errors import EndpointError
from tests.loadtest.made_log import STARTED, Load, made_log
from tests.loadtest.made_log import System as MadeSystem
from tests.loadtest.metrics.conftest import FakeTime, ListedCredentials
from tests.loadtest.metrics.monitoring_server import MonitoringServer, google_error, serve

JOB_ID = "2026-11-27_05_00_00-123"
JOB = {"job_id": JOB_ID}
DATAFLOW = "dataflow.googleapis.com/job"
MINUTES = [60.0 * i for i in range(-12, 30)]
ELSEWHERE = ("--project=shop", "--input_topic=requests", "--output_subscription=results")


@pytest.fixture
def server() -> Iterator[MonitoringServer]:
    with serve() as running:
        yield running


@pytest.fixture
def time(server: MonitoringServer) -> FakeTime:
    made = FakeTime()
    made.server, made.now, server.now = server, STARTED, STARTED
    return made


class FakeStop(Stop):
    """Its waiting moves a made clock on; it may set itself at a wait.

    Attributes:
        ends_at: Number of the wait that is interrupted; 0 for none.
    """

    def __init__(self, time: FakeTime) -> None:
        super().__init__()
        self.ends_at = 0
        self._time = time

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        if self.is_set():
            return True
        self._time.wait(timeout)
        if len(self._time.waits) == self.ends_at:
            self.end("interrupted (SIGINT)")
        return self.is_set()


@pytest.fixture
def stop(time: FakeTime) -> FakeStop:
    return FakeStop(time)


@pytest.fixture
def cloud(server: MonitoringServer, time: FakeTime, stop: FakeStop) -> Iterator[Cloud]:
    line, _, _ = parse_search([*ELSEWHERE, f"--job={JOB_ID}"])
    tokens = TokenSource(ListedCredentials(["good-token"]), request=object())
    api = MonitoringApi(tokens, server.url, stop.wait)
    yield Cloud(api, line.metrics.watched, time.clock)
    api.close()
    tokens.close()


def put(server: MonitoringServer, name: str, value: Callable[[float], float]) -> None:
    server.put(f"{DATAFLOW}/{name}", [(STARTED + at, value(at)) for at in MINUTES], metric=JOB)


def put_scaling(server: MonitoringServer) -> None:
    """One worker at first; three are wanted by the schedule's zero, and there a minute later."""
    put(server, "aggregated_worker_utilization", lambda at: 0.95 if at >= 0 else 0.5)
    put(server, "target_worker_instances", lambda at: 3 if at >= 0 else 1)
    put(server, "active_worker_instances", lambda at: 3 if at >= 60 else 1)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, time: FakeTime) -> None:
    """Make runs of a queue, write the raw log of each, and set the time to its end."""

    def make(
        target: Target, probe: Probe, tightest_s: float | None, folder: Path, display: object, stop: Stop
    ) -> Probed:
        load = Load(probe.rate, target.warm_up_s + probe.seconds, "poisson", probe.seed)
        log = made_log(load, MadeSystem(largest_batch=4))
        folder.mkdir(parents=True)
        log.write(folder)
        time.now = max(time.now, log.facts.ended_at)
        settings = Settings(tightest_objective_s=tightest_s, warm_up_floor_s=target.warm_up_s)
        keep(settings, folder)
        return Probed(folder, log, analyse(log, settings))

    monkeypatch.setattr(module, "make_probe", make)


def searched(
    cloud: Cloud, out: Path, stop: Stop, console: Console | None = None, probes_s: int = 7200
) -> Found:
    arguments = [*ELSEWHERE, "--objective=p99<100ms", "--start=300", "--probe_s=40", f"--budget={probes_s}"]
    line, search, _ = parse_search([*arguments, f"--out={out}"])
    assert search is not None, line.problems
    target = Target(line.options, System(), warm_up_s=10.0, cloud=cloud)
    found = find(search, target, out, 0.0, stop, None)
    add_cloud_metrics(found, target, stop, console)
    return found


@pytest.mark.usefixtures("job")
def test_late_metrics_of_every_run_are_in_its_log_and_its_report(
    server: MonitoringServer, time: FakeTime, stop: FakeStop, cloud: Cloud, tmp_path: Path
) -> None:
    put_scaling(server)
    console = Console(file=StringIO(), width=200)
    found = searched(cloud, tmp_path, stop, console)
    assert found.complete
    assert len(found.probed) > 2
    # All were waited for together: the longest delay that any metric has, and the sampling after the end.
    longest_run_s = max(probed.log.facts.ended_at for probed in found.probed.values()) - STARTED
    assert 0 < time.now - STARTED <= longest_run_s + 300 + 1
    for probed in found.probed.values():
        assert RawLog.read(probed.folder).series == probed.log.series
        assert [text for text in _events(probed) if "warm" not in text] == [
            "job/cpu above 0.8: triggers 3 workers",
            "decision for 3 workers",
            "workers 1 → 3: start",
        ]
    folder = found.probed[1].folder
    assert report_command([str(folder)]) == 0
    written = orjson.loads((folder / "report.json").read_bytes())
    (scaling,) = written["scalings"]
    assert (scaling["series"], scaling["signal"]) == ("job/workers", "job/cpu above 0.8")
    assert (scaling["decision"], scaling["start"]) == ({"after": -60, "until": 0}, {"after": 0, "until": 60})
    assert scaling["start_lag"] == {"low_s": 0, "high_s": 120}
    assert "workers 1 → 3: start" in [event["text"] for event in written["events"]]
    page = (folder / "report.html").read_text()
    assert "decision to start" in page
    assert "the Dataflow job 2026-11-27_05_00_00-123 has no value of" in page
    assert isinstance(console.file, StringIO)
    told = console.file.getvalue()
    assert told.count("Cloud Monitoring does not show yet, and until") >= 1
    assert told.count("job/system_lag_s: not available: ") == 1


def _events(probed: Probed) -> list[str]:
    return [event.text for event in probed.analysis.events]


@pytest.mark.usefixtures("job")
def test_an_interrupt_ends_the_wait_and_keeps_what_there_is(
    server: MonitoringServer, time: FakeTime, stop: FakeStop, cloud: Cloud, tmp_path: Path
) -> None:
    put_scaling(server)
    put(server, "system_lag", lambda at: 8)
    stop.ends_at = 1
    found = searched(cloud, tmp_path, stop)
    assert len(time.waits) == 1
    log = found.probed[1].log
    lags, _ = log.values("job/system_lag_s")
    # It is visible 240 s later, at the earliest; the number of workers is after 60.
    assert not len(lags)
    assert len(log.values("job/workers")[0])
    assert "had not passed yet" in log.series["job/system_lag_s"].unavailable


@pytest.mark.usefixtures("job")
def test_what_may_not_be_read_is_told_and_ends_nothing(
    server: MonitoringServer, time: FakeTime, stop: FakeStop, cloud: Cloud, tmp_path: Path
) -> None:
    denied = google_error(403, "PERMISSION_DENIED", "Permission monitoring.timeSeries.list denied")
    server.refusals = [denied] * 1000
    console = Console(file=StringIO(), width=1000)
    found = searched(cloud, tmp_path, stop, console)
    assert found.complete
    assert time.waits == []
    reasons = {
        one.unavailable for name, one in found.probed[1].log.series.items() if name.startswith("job/w")
    }
    (reason,) = reasons
    assert "the account needs roles/monitoring.viewer on project shop" in reason
    assert isinstance(console.file, StringIO)
    # One line for all series of all runs.
    assert console.file.getvalue().count("roles/monitoring.viewer") == 1


def test_what_is_missing_is_told_by_reason() -> None:
    series = [Series(name, "1", "Cloud Monitoring", why) for name, why in zip("abc", "xyx", strict=True)]
    assert missing([*series, Series("d", "1", "Cloud Monitoring")]) == ["a, c: x", "b: y"]


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, server: MonitoringServer) -> None:
    def default() -> TokenSource:
        return TokenSource(ListedCredentials(["good-token"]), request=object())

    monkeypatch.setattr(TokenSource, "default", default)
    monkeypatch.setenv(MONITORING_OVERRIDE, f"{server.url}/")


class TestStart:
    def start(self, stop: Stop, tmp_path: Path, *more: str) -> str:
        line, _, _ = parse_search([*ELSEWHERE, f"--job={JOB_ID}", f"--out={tmp_path}", *more])
        assert not line.problems
        console = Console(file=StringIO(), width=300)
        with started(line.options, line.flags, tmp_path, stop, console, line.metrics) as target:
            assert target.cloud is not None
        assert isinstance(console.file, StringIO)
        return console.file.getvalue()

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch, time: FakeTime, credentials: None) -> None:
        monkeypatch.setattr(cloud_module, "epoch_clock", lambda: time.clock)

    @pytest.mark.usefixtures("clock")
    def test_all_workers_are_waited_for(
        self, server: MonitoringServer, time: FakeTime, stop: FakeStop, tmp_path: Path
    ) -> None:
        put_scaling(server)
        time.now = server.now = STARTED + 70
        assert "1 of 3 workers of the Dataflow job" in self.start(stop, tmp_path)
        assert time.now >= STARTED + 120

    @pytest.mark.usefixtures("clock")
    def test_missing_workers_end_the_command(
        self, server: MonitoringServer, time: FakeTime, stop: FakeStop, tmp_path: Path
    ) -> None:
        put(server, "target_worker_instances", lambda at: 3)
        put(server, "active_worker_instances", lambda at: 2)
        with pytest.raises(RunError, match="2 of 3 workers of .* are up after 90 s"):
            self.start(stop, tmp_path, "--workers_timeout=90")

    @pytest.mark.usefixtures("clock")
    def test_zero_seconds_ask_nothing(self, server: MonitoringServer, stop: FakeStop, tmp_path: Path) -> None:
        assert self.start(stop, tmp_path, "--workers_timeout=0") == ""
        assert server.requests == []


def test_no_credentials_end_the_command_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def default() -> TokenSource:
        raise EndpointError("no Google Cloud credentials (none): run `gcloud auth application-default login`")

    monkeypatch.setattr(TokenSource, "default", default)
    assert search_command([*ELSEWHERE, f"--job={JOB_ID}", f"--out={tmp_path / 'out'}"]) == 1
    assert "Cloud Monitoring cannot be asked: no Google Cloud credentials" in capsys.readouterr().err


def test_nothing_is_opened_where_nothing_is_watched() -> None:
    with opened((), Stop()) as cloud:
        assert cloud is None
