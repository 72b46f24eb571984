from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.endpoint.options import EndpointOptions, parse


@pytest.fixture
def flags(records: Path, tmp_path: Path) -> list[str]:
    return [
        "--endpoint_url=http://127.0.0.1:8080/predict", f"--input={records}", f"--out={tmp_path / 'out'}",
        "--input_shape=2",
    ]  # fmt: skip


def good(flags: list[str]) -> EndpointOptions:
    options, problems = parse(flags)
    assert problems == []
    assert options is not None
    return options


def test_defaults(flags: list[str]) -> None:
    options = good(flags)
    assert options.target.address.url == "http://127.0.0.1:8080/predict"
    assert not options.target.address.needs_token
    assert (options.target.protocol, options.target.timeout_s) == ("predict", 30.0)
    assert (options.rows, options.connections, options.max_connections) == ((1, 8, 32, 128), (1, 2, 4, 8), 64)
    assert str(options.tier) == "p99<100ms"
    assert options.schedule is None
    assert len(options.inputs) == 5


def test_an_endpoint_of_vertex_ai_by_the_jobs_flags(flags: list[str]) -> None:
    options = good(["--endpoint=123", "--endpoint-location=europe-west4", "--project=my-project", *flags[1:]])
    assert options.target.address.needs_token
    assert options.target.address.url == (
        "https://europe-west4-aiplatform.googleapis.com/v1/projects/my-project/locations/europe-west4/"
        "endpoints/123:predict"
    )


def test_a_schedule_takes_the_place_of_the_search(flags: list[str]) -> None:
    options = good([*flags, "--rate=50", "--duration=5", "--schedule=ramp", "--to_rate=100"])
    assert str(options.schedule) == "ramp --rate=50 --to_rate=100"
    assert options.rows == (1,)


def test_a_trace_is_a_schedule(flags: list[str], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("0\n1\n2\n")
    options = good([*flags, f"--trace={trace}"])
    assert options.schedule is not None
    assert options.schedule.offsets().tolist() == [0, 1, 2]


def test_objectives_and_lists(flags: list[str]) -> None:
    options = good([*flags, "--objective=p99<50ms", "--objective=errors=0", "--rows=32,1, 8,8", "--seed=7"])
    assert str(options.tier) == "p99<50ms,errors=0"
    assert options.rows == (1, 8, 32)
    assert options.seed == 7


def test_payloads_are_shuffled_by_a_seed_of_their_own(flags: list[str]) -> None:
    def order(*more: str) -> list[float]:
        return [float(row[0]) for row in good([*flags, *more]).inputs]  # type: ignore[index]

    assert order() == [0, 1, 2, 3, 4]
    assert order("--payload_seed=3") == order("--payload_seed=3")
    assert order("--payload_seed=3") != order()
    assert sorted(order("--payload_seed=3")) == order()


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--rows=0"], "--rows: '0' is not a whole number from 1 to 100000"),
        (["--connections=600"], "--connections: '600' is not a whole number from 1 to 512"),
        (["--objective=p99>1"], "--objective: 'p99>1': p99 takes < or <=, not >"),
        (["--objective=duplicates=0"], "--objective: duplicates=0: a call to an endpoint has no duplicates"),
        (["--rates=5"], "--rates: there is no such flag; did you mean --rate?"),
        (["--duration=5"], "--duration belongs to a schedule: give --rate or --trace with it"),
        (["--probe_s=2"], "--probe_s=2 must be from 4, as the first probes last a quarter of it"),
        (["--probe_s=50"], "to --probe_max_s (30)"),
        (["--start=-1"], "--start: '-1' is not a number above 0"),
        (["--rate=0"], "--rate=0 must be a number above 0"),
        (["--rate=5", "--schedule=ramp"], "--to_rate is missing"),
        (["--rate=fast"], "--rate: 'fast' is not a number"),
        (["--endpoint=a b"], "--endpoint: 'a b' is neither the id"),
        (["--endpoint_url=http://host"], "--endpoint_url: 'http://host' has no path"),
        (["--endpoint_url="], "--endpoint_url is missing: give the URL of a container, or --endpoint"),
        (["--input_shape=3"], "--input: record 1: features: expected 3 numbers, got 2"),
        (["--input=/nowhere"], "--input: cannot read /nowhere"),
        (["--out="], "--out is missing"),
        (["--endpoint_protocol=raw", "--input_shape=a:int64:2,b:int64:2"], "takes one input"),
    ],
)
def test_what_is_wrong_is_said(flags: list[str], more: list[str], problem: str) -> None:
    options, problems = parse([*flags, *more])
    assert options is None
    assert any(problem in each for each in problems), problems
