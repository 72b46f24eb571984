"""The whole command beside an endpoint in the cloud: credentials, address, one probe, log and page."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadtest.analysis.analyse import analyse
from loadtest.analysis.settings import Settings
from loadtest.raw_log import RawLog
from pipeline.options.google_api import MONITORING_OVERRIDE
from tests.integration.google_token import TokenServer
from tests.loadtest.metrics.monitoring_server import DESCRIPTORS, MonitoringServer, serve
from tests.waiting import LIMIT_S

ROOT = Path(__file__).parents[2]
VERTEX = "aiplatform.googleapis.com/prediction/online/"
ENDPOINT = {"endpoint_id": "4711", "location": "us-central1", "resource_container": "shop-1"}
NAME = "projects/shop-1/locations/us-central1/endpoints/4711"
LABELS = {"deployed_model_id": "1", "replica_id": "a", "latency_type": "total", "response_code": "2xx"}
EVERY_S = 5.0


def put_everything(server: MonitoringServer, now: float) -> None:
    """Give each metric of the endpoint values all around `now`, from when on two replicas are wanted."""
    ends = [now + EVERY_S * i for i in range(-60, 120)]
    for type_, descriptor in DESCRIPTORS.items():
        if not type_.startswith(VERTEX):
            continue
        labels = {name: LABELS[name] for name in descriptor.labels if name in LABELS}
        wanted = 2.0 if type_.endswith("target_replicas") else 1.0
        points: list[tuple[float, ...]]
        if descriptor.kind == "DELTA":
            points = [(end - EVERY_S, end, 3.0) for end in ends]
        else:
            points = [(end, wanted if end > now else 1.0) for end in ends]
        server.put(type_, points, project="shop-1", metric=labels, resource=ENDPOINT)


@pytest.mark.slow
def test_a_search_beside_an_endpoint(tmp_path: Path) -> None:
    out, credentials = tmp_path / "out", tmp_path / "credentials.json"
    command = [
        sys.executable, "-m", "lab", "search", f"--out={out}", "--start=50", "--probe_s=12", "--budget=4",
        "--tier=p50<1s,lost=0", f"--endpoint={NAME}",
    ]  # fmt: skip
    with serve() as server, TokenServer() as tokens:
        tokens.write_key(credentials)
        server.token = "token-1"
        # Wanted while the first probe, of 13 s, is under way, after some seconds of starting.
        put_everything(server, time.time() + 15)
        environment = {
            **os.environ,
            "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
            MONITORING_OVERRIDE: server.url,
        }
        run = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3 * LIMIT_S
        )
    assert "p50<1s,lost=0: passed (" in run.stderr, run.stderr
    assert "asking Cloud Monitoring for the metrics of each run" in run.stderr
    log = RawLog.read(out / "probes" / "01")
    started, ended_at = log.facts.started, log.facts.ended_at
    for name in ("endpoint/replicas", "endpoint/latency_p99_ms/total", "endpoint/responses/2xx"):
        at, _ = log.values(name)
        assert at[0] < started
        assert at[-1] >= ended_at
        assert log.series[name].unavailable == ""
    assert len(log.values("job/cpu_s")[0])
    (scaling,) = analyse(log, Settings()).scalings
    assert (scaling.series, scaling.before, scaling.after) == ("endpoint/replicas", 1, 2)
    assert "decision to start" in (out / "report.html").read_text()
    assert "the endpoint" not in run.stderr.partition("asking Cloud Monitoring")[2]
