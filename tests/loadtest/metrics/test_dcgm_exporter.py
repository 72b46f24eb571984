"""GPU metrics of a dcgm-exporter: its text, in our units, and the reason for each that it does not tell."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from loadtest.metrics.dcgm_exporter import DcgmExporter
from tests.loopback import QuietHandler, serving

_GPU0 = 'gpu="0",UUID="GPU-6ec3e9c2",pci_bus_id="00000000:01:00.0",device="nvidia0",modelName="NVIDIA H100 80GB HBM3",Hostname="node \\"7\\", rack {2}",DCGM_FI_DRIVER_VERSION="550.54.15"'  # noqa: E501
_GPU1 = 'gpu="1",UUID="GPU-0f1d2c3b",device="nvidia1",modelName="NVIDIA H100 80GB HBM3",Hostname="node"'

# As the exporter's default counters write it, with the fields for profiling.
TEXT = f"""\
# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).
# TYPE DCGM_FI_DEV_SM_CLOCK gauge
DCGM_FI_DEV_SM_CLOCK{{{_GPU0}}} 1980
# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{{{_GPU0}}} 88
DCGM_FI_DEV_GPU_UTIL{{{_GPU1}}} 0
# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{{{_GPU0}}} 512.430000
DCGM_FI_DEV_POWER_USAGE{{{_GPU1}}} 71.2 1795785600000
# HELP DCGM_FI_DEV_FB_USED Framebuffer memory used (in MiB).
# TYPE DCGM_FI_DEV_FB_USED gauge
DCGM_FI_DEV_FB_USED{{{_GPU0}}} 1024
DCGM_FI_DEV_FB_USED{{{_GPU1}}} NaN
# HELP DCGM_FI_PROF_SM_ACTIVE The ratio of cycles an SM has at least 1 warp assigned.
# TYPE DCGM_FI_PROF_SM_ACTIVE gauge
DCGM_FI_PROF_SM_ACTIVE{{{_GPU0},pod="one"}} 0.25
DCGM_FI_PROF_SM_ACTIVE{{{_GPU0},pod="two"}} 0.75
DCGM_FI_PROF_PCIE_TX_BYTES{{{_GPU0}}} 1.5e+09
DCGM_FI_PROF_PCIE_RX_BYTES{{{_GPU0}}} 2000000
"""


class Exporter:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/metrics"
        self.status = 200
        self.text = TEXT
        self.headers: list[dict[str, str]] = []


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            body = found.text.encode()
            self.send_response(found.status if self.path == "/metrics" else 404)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Exporter(server.server_port)
    with serving(server):
        yield found


@pytest.fixture
def source(exporter: Exporter) -> Iterator[DcgmExporter]:
    scraping = DcgmExporter(exporter.url)
    yield scraping
    scraping.close()


def read(source: DcgmExporter) -> dict[str, float]:
    return {sample.series: sample.value for sample in source.sample(10.0)}


def reasons(source: DcgmExporter) -> dict[str, str]:
    assert all(series.source == "dcgm-exporter" for series in source.series())
    return {series.name: series.unavailable for series in source.series()}


def test_its_text_in_our_units(source: DcgmExporter) -> None:
    assert read(source) == {
        "gpu/0/utilization": pytest.approx(0.88),
        "gpu/0/memory_bytes": 2.0**30,
        "gpu/0/power_w": 512.43,
        "gpu/0/pcie_tx_bytes_per_s": 1.5e9,
        "gpu/0/pcie_rx_bytes_per_s": 2e6,
        # Of one GPU that two containers share, it has two lines.
        "gpu/0/sm_activity": 0.75,
        "gpu/1/utilization": 0.0,
        "gpu/1/power_w": 71.2,
    }


def test_what_it_does_not_tell_has_a_reason(source: DcgmExporter, exporter: Exporter) -> None:
    read(source)
    found = reasons(source)
    assert found["gpu/0/utilization"] == ""
    assert found["gpu/1/sm_activity"] == (
        f"not available: {exporter.url} has no DCGM_FI_PROF_SM_ACTIVE of this GPU"
    )
    # NaN is what it writes for a value that it could not read.
    assert found["gpu/1/memory_bytes"].startswith("not available: ")


def test_an_outage_in_mid_run(source: DcgmExporter, exporter: Exporter) -> None:
    read(source)
    exporter.status = 503
    assert read(source) == {}
    exporter.status = 200
    assert "gpu/0/utilization" in read(source)
    assert reasons(source)["gpu/0/utilization"] == (
        f"partly not available: 1 of 3 readings failed ({exporter.url} answered 503 Service Unavailable)"
    )


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [
        (200, "# nothing yet\n", "tells of no GPU"),
        (200, "<html>sign in</html>", "tells of no GPU"),
        (302, "", "answered 302"),
        (401, "", "answered 401"),
        (200, "# a line\n" * 600_000, "answered more than 4194304 bytes"),
    ],
)
def test_what_is_no_exporter(
    source: DcgmExporter, exporter: Exporter, status: int, text: str, told: str
) -> None:
    exporter.status, exporter.text = status, text
    assert read(source) == {}
    assert set(reasons(source)) == {
        f"gpu/{quantity}"
        for quantity in (
            "utilization", "memory_bytes", "power_w", "pcie_tx_bytes_per_s", "pcie_rx_bytes_per_s",
            "sm_activity", "sm_occupancy",
        )
    }  # fmt: skip
    assert all(why.startswith("not available: ") and told in why for why in reasons(source).values())


def test_nobody_there() -> None:
    source = DcgmExporter("http://127.0.0.1:1/metrics")
    assert read(source) == {}
    assert all("no answer of http://127.0.0.1:1/metrics" in why for why in reasons(source).values())
    source.close()


def test_no_credentials_go_there(source: DcgmExporter, exporter: Exporter) -> None:
    read(source)
    assert "authorization" not in exporter.headers[0]


def test_its_address_is_checked() -> None:
    with pytest.raises(ValueError, match="is not a URL"):
        DcgmExporter("node-7:9400")
