"""Both sides do the same work through Beam's own steps. Nothing is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from apache_beam.pvalue import TaggedOutput

from benchmarks.handler import __main__ as handler
from benchmarks.handler import sides as handler_sides
from benchmarks.handler.__main__ import TABLES, main, parse
from benchmarks.handler.measures import (
    MODEL_ALONE,
    loads,
    one_at_a_time,
    processor_time,
    take_turns,
)
from benchmarks.handler.sides import (
    BUNDLE,
    OURS,
    OURS_FLOAT32,
    SILENT,
    STOCK,
    TUNED,
    Side,
    check,
    encode_silently,
    sides,
    silent,
)
from benchmarks.harness import cli
from benchmarks.harness.beam_thread import Expanded, counted_metrics
from benchmarks.harness.handlers import state_dict, stock_handler
from benchmarks.harness.machine import Machine
from benchmarks.harness.models import WrongAnswerError, example, linear, mlp
from benchmarks.harness.request_messages import float32_messages, json_messages
from pipeline.io.connectors import as_one_list
from pipeline.job.steps import Encode
from pipeline.process import registry
from pipeline.request.messages import DeadLetter
from pipeline.request.wire_format import WireMessage
from tests.benchmarks.conftest import UsageError

CPU = Machine("cpu", torch_threads=1)
COUNTED_FOR_EACH_RESULT = {"results", "batch_size", "total_ms", "queue_ms", "inference_ms", "batch_wait_ms"}


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """Models and torch's number of threads belong to the process."""
    threads = torch.get_num_threads()
    yield
    registry.close_all()
    torch.set_num_threads(threads)


def counts(metrics: Any) -> dict[tuple[str, str], int]:
    """Return all that a metrics container has counted: of distributions, how many values."""
    cumulative = metrics.get_cumulative()
    return {
        (key.metric.namespace, key.metric.name): value
        for key, value in (
            *cumulative.counters.items(),
            *((key, data.count) for key, data in cumulative.distributions.items()),
        )
    }


def by_title(all_sides: list[Side]) -> dict[str, Side]:
    return {side.title: side for side in all_sides}


@pytest.mark.parametrize("workload", [example(), linear(8)], ids=lambda workload: workload.title)
def test_all_sides_give_the_same_answers(workload: Any, tmp_path: Path) -> None:
    all_sides = sides(workload, CPU, tmp_path, float32=workload.exported is None)
    with counted_metrics():
        check(all_sides)  # raises where they do not
        results_of = {
            side.title: [orjson.loads(message.data) for message in side.bundle()] for side in all_sides
        }
    for each in results_of.values():
        assert [result["request_id"] for result in each] == [str(number) for number in range(BUNDLE)]
    stock, ours = results_of[STOCK], results_of[OURS]
    np.testing.assert_allclose(
        [result["prediction"] for result in ours], [result["prediction"] for result in stock], 1e-4, 1e-5
    )
    assert len({result["prediction"] for result in stock}) > BUNDLE / 2  # not one constant
    assert [result["passthrough"] for result in ours] == [result["passthrough"] for result in stock]
    assert stock[0].keys() <= ours[0].keys()


def test_both_bodies_hold_the_same_numbers() -> None:
    bodies = [orjson.loads(message.data)["features"] for message in json_messages(linear(8), BUNDLE)]
    arrays = [np.frombuffer(message.data, "<f4") for message in float32_messages(linear(8), BUNDLE)]
    assert np.shape(arrays) == (BUNDLE, 8)
    np.testing.assert_array_equal(np.array(bodies, np.float32), arrays)


def side(change: Callable[[list[Any]], list[Any]]) -> Side:
    """Return a side without a model. `change` gets one message a request and returns the outputs."""

    class Steps:
        def run(self, elements: Any) -> list[Any]:
            outputs = [
                WireMessage(orjson.dumps({"request_id": str(number), "prediction": float(number)}))
                for number, _ in enumerate(elements)
            ]
            return change(outputs)

    return Side(
        "changed",
        Steps(),  # type: ignore[arg-type]
        lambda messages: messages,
        lambda answer: (answer,),
        json_messages(linear(2), BUNDLE),
    )


def test_answers_must_be_the_first_sides_and_in_order() -> None:
    right = side(list)
    check([right, right])
    wrong = WireMessage(orjson.dumps({"request_id": "0", "prediction": 0.5}))
    for change, reason in (
        (lambda outputs: outputs[::-1], "in their order"),
        (lambda outputs: outputs[:-1], "in their order"),
        (lambda outputs: [wrong, *outputs[1:]], "other predictions"),
        (lambda outputs: [TaggedOutput("dead_letters", None), *outputs[1:]], "refuses"),
    ):
        with pytest.raises(WrongAnswerError, match=reason):
            check([right, side(change)])


def test_a_bundle_is_cut_as_beam_cuts_it_and_counted(tmp_path: Path) -> None:
    batches = {}
    for title, each in by_title(sides(linear(4), CPU, tmp_path)).items():
        with counted_metrics() as metrics:
            each.bundle()
        found = counts(metrics)
        if title == OURS:
            # The job puts batches together while it decodes, and counts its results itself.
            assert not {name for _, name in found} & {"num_inferences", "msec_per_batch"}
            continue
        (namespace,) = {space for space, name in found if name == "num_inferences"}
        assert found[namespace, "num_inferences"] == BUNDLE
        assert found["BatchElements", "batch_size"] == found[namespace, "inference_request_batch_size"]
        batches[title] = found["BatchElements", "batch_size"]
    # By itself stock begins with a batch of one and feels its way up.
    assert batches[STOCK] > 2
    assert batches[TUNED] == 1


def test_the_jobs_metrics_are_counted_or_left_out(tmp_path: Path) -> None:
    ours = by_title(sides(linear(4), CPU, tmp_path))[OURS]
    with counted_metrics() as metrics:
        ours.bundle()
    found = counts(metrics)
    assert {found["inference", name] for name in COUNTED_FOR_EACH_RESULT} == {BUNDLE}
    with counted_metrics() as metrics:
        silent(ours).bundle()
    left = {name for namespace, name in counts(metrics) if namespace == "inference"}
    assert left.isdisjoint(COUNTED_FOR_EACH_RESULT)


def test_without_metrics_the_messages_are_the_same(tmp_path: Path) -> None:
    ours = by_title(sides(linear(4), CPU, tmp_path))[OURS]
    counted = Encode(as_one_list, as_one_list, clock=lambda: 7.5)
    with counted_metrics():
        (answers,) = ours.steps.run(ours.decode(ours.messages))
        (expected,) = counted.process(answers)
    assert len(answers) == BUNDLE
    assert encode_silently(answers, clock=lambda: 7.5) == expected


def test_without_metrics_a_dead_letter_is_no_answer() -> None:
    with pytest.raises(WrongAnswerError, match="boom"):
        encode_silently([DeadLetter(b"", {}, "inference", "ValueError", "boom", 0.0)])


def test_a_bundle_thread_has_copies_of_its_own_of_one_model(tmp_path: Path) -> None:
    weights = state_dict(linear(4), tmp_path)
    expanded = Expanded.of(stock_handler(linear(4), weights, CPU))
    first, second = expanded.set_up(), expanded.set_up()
    assert first._inference is not second._inference
    assert first._inference._model.next_model() is second._inference._model.next_model()


def test_stock_loads_again_after_an_idle_minute_and_ours_does_not(tmp_path: Path) -> None:
    assert loads(CPU, tmp_path) == {STOCK: 2, OURS: 1}


def test_sides_take_turns_in_each_round() -> None:
    calls = []
    seconds = iter(range(100))

    def call(title: str) -> Callable[[], None]:
        return lambda: calls.append(title)

    found = take_turns(
        {"a": call("a"), "b": call("b")}, rounds=2, times=2, clock=lambda: float(next(seconds))
    )
    # One call before the clock is read, two after it.
    assert "".join(calls) == "aaabbb" * 2
    assert found == {"a": (0.5, 0.5), "b": (0.5, 0.5)}


def test_processor_time_has_every_side_and_round(tmp_path: Path) -> None:
    found = processor_time(linear(4), CPU, tmp_path, rounds=2, bundles=1, float32=True)
    assert [(cost.title, len(cost.rounds_us)) for cost in found] == [
        (title, 2) for title in (STOCK, TUNED, OURS, OURS_FLOAT32, MODEL_ALONE)
    ]
    assert {(cost.features, cost.model) for cost in found} == {(4, "Linear(4, 1)")}


def test_nothing_is_measured_of_wrong_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    all_sides = [side(list), side(lambda outputs: outputs[::-1])]
    monkeypatch.setattr(handler_sides, "sides", lambda *_, float32: all_sides)
    with pytest.raises(WrongAnswerError, match="in their order"):
        processor_time(linear(2), CPU, tmp_path, rounds=1, bundles=1)


def test_one_at_a_time_has_both_sides(tmp_path: Path) -> None:
    found = one_at_a_time(mlp(2, 8), CPU, tmp_path, rounds=1, requests=2)
    assert [cost.title for cost in found] == [STOCK, OURS]


def test_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    defaults = parse([])
    assert (defaults.out, defaults.tables, defaults.machine.device) == (cli.FOLDER, TABLES, "cpu")
    assert cli.FOLDER.is_dir()
    options = parse(
        [
            *(f"--out={tmp_path}", "--tables=loads,cpu", "--rounds=1", "--bundles=2", "--requests=3"),
            *("--device=cpu", "--torch_threads=5"),
        ]
    )
    assert options.out == tmp_path
    assert (options.tables, options.rounds, options.bundles, options.requests) == (("cpu", "loads"), 1, 2, 3)
    assert options.machine == Machine("cpu", 5)


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    devices = [parse([f"--device={device}"]).machine.device for device in ("cpu", "gpu", "auto")]
    assert devices == ["cpu", "gpu", "gpu"]


def test_results_of_a_gpu_stand_beside_those_of_the_cpu() -> None:
    assert [Machine(device, 1).results_name("handler") for device in ("cpu", "gpu")] == [
        "handler",
        "handler-gpu",
    ]


@pytest.mark.parametrize(
    "flag",
    [
        "--rounds=0",
        "--bundles=0",
        "--requests=0",
        "--torch_threads=0",
        "--device=gpu",
        "--device=tpu",
        "--tables=",
        "--tables=cpu,memory",
        "--out=/no/such/folder",
        "--round=3",
    ],
)
def test_wrong_flags_end_with_exit_code_2(
    flag: str, usage_error: UsageError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert flag.split("=")[0] in usage_error(parse, flag)


def test_a_short_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "mlp", lambda: mlp(layers=2, width=8))
    short = ["--rounds=1", "--bundles=1", "--requests=1", "--torch_threads=1", "--device=cpu"]
    assert main([*short, f"--out={tmp_path}"]) == 0
    figures = orjson.loads((tmp_path / "handler.json").read_bytes())
    assert [(row["features"], row["title"]) for row in figures["cpu"]] == [
        *((30, title) for title in (STOCK, TUNED, OURS, MODEL_ALONE)),
        *((1024, title) for title in (STOCK, TUNED, OURS, OURS_FLOAT32, MODEL_ALONE)),
    ]
    assert [row["title"] for row in figures["metrics"]] == [OURS, SILENT]
    assert [row["title"] for row in figures["single"]] == [STOCK, OURS]
    assert figures["loads"] == {STOCK: 2, OURS: 1}
    assert len(figures["verdicts"]) == 8
    text = (tmp_path / "handler.txt").read_text()
    assert str(tmp_path) not in text
    assert "one request at a time" in text
    assert "one request at a time" in capsys.readouterr().out
