"""`python -m serving` before it serves, and what it must not import."""

from __future__ import annotations

import pkgutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import serving
from tests.pipeline.model.files.test_model_files import export
from tests.serving.conftest import Start
from tests.serving.container import ROOT, call, instances
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "examples" / "breast_cancer"


def test_the_first_line_names_a_free_port(start: Start) -> None:
    server = start(EXAMPLE, "--workers=1").listening()
    assert not server.address.endswith(":0")
    assert call(server.address, "GET", "/health").status in (200, 503)


def test_the_routes_are_vertex_ais_to_choose(start: Start) -> None:
    routes = {"AIP_HEALTH_ROUTE": "/v1/live", "AIP_PREDICT_ROUTE": "/v1/endpoints/4711:predict"}
    server = start(EXAMPLE, "--workers=1", **routes).listening()
    address = server.address
    wait_until(lambda: call(address, "GET", "/v1/live").status == 200)
    body = instances([0.0] * 30)
    assert call(address, "POST", "/v1/endpoints/4711:predict", body, "application/json").status == 200
    assert call(address, "GET", "/health").status == 404
    assert "health: GET /v1/live, predictions: POST /v1/endpoints/4711:predict" in server.log


def test_a_pt2_names_the_inputs(start: Start, tmp_path: Path) -> None:
    server = start(Path(export(tmp_path / "m.pt2")), "--workers=1").ready()
    assert server.predict([1.0, 2.0, 3.0]).status == 200
    assert "expected 3 numbers, got 30" in server.predict([0.0] * 30).message
    # Bodies are as large as the largest batch of these.
    body = b"[" + b" " * 2_000_000 + b"]"
    assert call(server.address, "POST", "/predict", body, "application/json").status == 413


def test_wrong_flags_end_it_before_it_listens(start: Start) -> None:
    server = start(ROOT, "--workers=none", AIP_HTTP_PORT="x")
    assert server.wait() == 2
    assert len(server.log.splitlines()) == 2
    assert server.process.stdout is not None
    assert server.process.stdout.read() == ""


def test_a_port_that_is_taken(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start(EXAMPLE, AIP_HTTP_PORT=str(port))
        assert server.wait() == 2
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in server.log


def test_beam_is_not_imported() -> None:
    modules = [name for _, name, _ in pkgutil.walk_packages(serving.__path__, "serving.")]
    assert {"serving.app", "serving.supervisor", "serving.worker", "serving.__main__"} <= set(modules)
    code = (
        f"import {', '.join(modules)}, sys\n"
        "assert 'pipeline.model.model' in sys.modules\n"
        "assert 'apache_beam' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(ROOT), check=True)
