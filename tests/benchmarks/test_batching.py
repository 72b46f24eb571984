"""Bundle threads run and count both sides alike; nothing is timed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from benchmarks.batching import __main__ as batching
from benchmarks.batching.__main__ import PLANS, Options, main, measure, parse
from benchmarks.batching.measures import drive, percentile, plain_rates
from benchmarks.batching.report import CPU_GOALS
from benchmarks.harness import cli
from benchmarks.harness.models import Encoder, Mlp, Workload, WrongAnswerError, encoder, mlp
from benchmarks.harness.request_sides import OURS, STOCK, RequestSide, check, request_sides
from pipeline.process import registry
from pipeline.request.messages import DeadLetter
from tests.benchmarks.conftest import UsageError
from tests.benchmarks.test_batching_report import CPU, shown

SMALL_MLP = mlp(layers=2, width=8)
SMALL_ENCODER = encoder(layers=2, width=16, heads=2, feed_forward=32, vocabulary=50, length=8)


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """Models and torch's number of threads belong to the process."""
    threads = torch.get_num_threads()
    yield
    registry.close_all()
    torch.set_num_threads(threads)


def test_percentiles_are_of_the_values_themselves() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert [percentile([7.0], share) for share in (0.5, 0.99)] == [7, 7]
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2


@pytest.mark.parametrize("workload", [SMALL_MLP, SMALL_ENCODER], ids=lambda workload: workload.title)
def test_both_sides_give_the_same_answers(workload: Workload, tmp_path: Path) -> None:
    sides = request_sides(workload, CPU, tmp_path)
    inputs = workload.inputs(5)
    check(sides, inputs)  # raises where they do not
    answers = {}
    for side in sides:
        found = side.expanded.set_up().infer(side.ready(inputs)())
        answers[side.title] = np.array([side.on_host(answer) for answer in found])
    np.testing.assert_allclose(answers[OURS], answers[STOCK], 1e-2, 1e-2)
    assert len(np.unique(answers[STOCK], axis=0)) == 5  # not one constant


def test_both_sides_compute_the_encoder_in_half_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    forward = Encoder.forward

    def spy(module: Encoder, ids: torch.Tensor) -> torch.Tensor:
        output = forward(module, ids)
        computed.append(output.dtype)
        return output

    monkeypatch.setattr(Encoder, "forward", spy)
    for side in request_sides(SMALL_ENCODER, CPU, tmp_path):
        steps = side.expanded.set_up()
        computed.clear()
        steps.infer(side.ready(SMALL_ENCODER.inputs(2))())
        assert computed == [torch.float16], side.title


class Steps:
    """Steps whose answers are the elements of their batch."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def set_up(self) -> Steps:
        return self

    def infer(self, batch: list[Any]) -> list[Any]:
        if self.error is not None:
            raise self.error
        return list(batch)


def side(title: str = OURS, steps: Steps | None = None, add: float = 0.0, batch_size: int = 4) -> RequestSide:
    """Return a side without a model, whose answers are its inputs plus `add`."""
    return RequestSide(
        title,
        steps or Steps(),  # type: ignore[arg-type]
        lambda inputs: lambda: list(inputs),
        lambda answer: answer + add,
        lambda answer, bundle: batch_size,
    )


def test_answers_must_be_the_first_sides() -> None:
    check([side(STOCK), side(OURS)], SMALL_MLP.inputs(3))
    with pytest.raises(WrongAnswerError, match="ours: other predictions than stock's"):
        check([side(STOCK), side(OURS, add=0.5)], SMALL_MLP.inputs(3))


def test_a_dead_letter_is_no_answer(tmp_path: Path) -> None:
    ours = request_sides(SMALL_MLP, CPU, tmp_path)[1]
    with pytest.raises(WrongAnswerError, match="boom"):
        ours.on_host(DeadLetter(b"", {}, "inference", "ValueError", "boom", 0.0))


@pytest.mark.parametrize("number", [0, 1], ids=[STOCK, OURS])
@pytest.mark.parametrize("bundle", [1, 3])
def test_threads_send_bundle_after_bundle(tmp_path: Path, number: int, bundle: int) -> None:
    chosen = request_sides(SMALL_MLP, CPU, tmp_path)[number]
    run = drive(chosen, SMALL_MLP, CPU, threads=2, bundle=bundle, seconds=0.05, warm_up_s=0.0)
    assert (run.title, run.threads, run.bundle) == (chosen.title, 2, bundle)
    assert run.requests_per_s > 0
    assert run.p50_ms <= run.p99_ms
    assert bundle <= run.mean_batch <= 2 * bundle
    if chosen.title == STOCK:
        assert run.mean_batch == pytest.approx(bundle)


def test_the_mean_batch_is_requests_by_forward_passes() -> None:
    run = drive(side(batch_size=4), SMALL_MLP, CPU, threads=2, bundle=3, seconds=0.0, warm_up_s=0.0)
    assert run.mean_batch == pytest.approx(4)


def test_a_thread_that_fails_ends_the_run() -> None:
    broken = side(steps=Steps(ValueError("boom")))
    with pytest.raises(ValueError, match="boom"):
        drive(broken, SMALL_MLP, CPU, threads=2, bundle=1, seconds=0.0, warm_up_s=0.0)


@pytest.mark.parametrize("workload", [SMALL_MLP, SMALL_ENCODER], ids=lambda workload: workload.title)
def test_plain_passes_of_each_size(workload: Workload) -> None:
    rates = plain_rates(workload, CPU, (1, 2, 4), seconds=0.0001)
    assert list(rates) == [1, 2, 4]
    assert min(rates.values()) > 0


def test_sizes_that_do_not_fit_into_memory_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(module: Mlp, features: torch.Tensor) -> torch.Tensor:
        if len(features) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return features

    monkeypatch.setattr(Mlp, "forward", forward)
    assert list(plain_rates(SMALL_MLP, CPU, (1, 2, 4, 8), seconds=0.0001)) == [1, 2]


def test_the_plans_are_those_of_the_goals() -> None:
    assert PLANS["cpu"].threads == tuple(CPU_GOALS.rate)
    gpu = PLANS["gpu"]
    assert (gpu.bundles, gpu.threads) == ((1, 4), (12, 48))
    assert (gpu.plain_sizes[0], gpu.plain_sizes[-1]) == (1, 512)
    assert gpu.workload.model_params == {
        "layers": 12,
        "width": 768,
        "heads": 12,
        "feed_forward": 3072,
        "vocabulary": 30_522,
        "length": 128,
    }
    assert (gpu.workload.input_shape, gpu.workload.precision) == ("ids:int64:128", "fp16")


def test_the_gpus_plan_runs_with_a_small_encoder() -> None:
    plan = replace(PLANS["gpu"], workload=SMALL_ENCODER, threads=(1, 2), plain_sizes=(1, 2))
    options = Options(cli.FOLDER, 0.02, 2, None, None, CPU)
    measured = measure(plan, options, warm_up_s=0.0, plain_s=0.0001)
    assert [(run.bundle, run.threads, run.title) for run in measured.runs] == [
        (bundle, threads, title)
        for bundle in (1, 4)
        for threads in (1, 2)
        for _ in range(2)
        for title in (STOCK, OURS)
    ]
    assert list(measured.plain) == [1, 2]
    assert SMALL_ENCODER.title in shown(measured, plan.goals)


def test_nothing_is_measured_of_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "request_sides", lambda *_: [side(STOCK), side(OURS, add=0.5)])
    plan = replace(PLANS["cpu"], workload=SMALL_MLP)
    with pytest.raises(WrongAnswerError, match="other predictions"):
        measure(plan, Options(cli.FOLDER, 0.02, 1, None, (1,), CPU), warm_up_s=0.0, plain_s=0.0)


def test_a_short_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLANS, "cpu", replace(PLANS["cpu"], workload=SMALL_MLP))
    monkeypatch.setattr(batching, "WARM_UP_S", 0.0)
    short = ["--seconds=0.02", "--rounds=1", "--threads=2,1", "--torch_threads=1", "--device=cpu"]
    assert main([*short, f"--out={tmp_path}"]) == 0
    figures = orjson.loads((tmp_path / "batching.json").read_bytes())
    assert [(row["threads"], row["title"]) for row in figures["runs"]] == [
        (1, STOCK),
        (1, OURS),
        (2, STOCK),
        (2, OURS),
    ]
    assert [verdict["name"] for verdict in figures["verdicts"]] == [
        "rate, 1 thread, bundles of 1, ours / stock"
    ]
    text = (tmp_path / "batching.txt").read_text()
    assert str(tmp_path) not in text
    assert SMALL_MLP.title in text
    assert SMALL_MLP.title in capsys.readouterr().out


def test_flags(tmp_path: Path) -> None:
    defaults = parse(["--device=cpu"])
    assert (defaults.out, defaults.seconds, defaults.rounds) == (cli.FOLDER, 10.0, 3)
    assert (defaults.bundle, defaults.threads) == (None, None)
    options = parse(
        [f"--out={tmp_path}", "--seconds=0.5", "--bundle=4", "--threads=48,12", "--torch_threads=2"]
    )
    assert (options.out, options.seconds) == (tmp_path, 0.5)
    assert (options.bundle, options.threads) == ((4,), (12, 48))
    assert options.machine.torch_threads == 2


@pytest.mark.parametrize(
    "flag",
    [
        "--seconds=0",
        "--seconds=nan",
        "--seconds=inf",
        "--rounds=0",
        "--bundle=0",
        "--bundle=",
        "--threads=0,1",
        "--threads=many",
        "--device=gpu",
        "--out=/no/such/folder",
        "--second=3",
    ],
)
def test_wrong_flags_end_with_exit_code_2(
    flag: str, usage_error: UsageError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert flag.split("=")[0] in usage_error(parse, flag)
