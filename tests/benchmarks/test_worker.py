"""The sides of the benchmark of a worker answer as the model does. Nothing is timed."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from benchmarks.harness import cli
from benchmarks.harness.bundles import Bundle
from benchmarks.harness.fused_stage import FusedStage, decode, encode
from benchmarks.harness.machine import Machine
from benchmarks.harness.models import WrongAnswerError
from benchmarks.worker import report
from benchmarks.worker.__main__ import main, parse
from benchmarks.worker.measures import Cells, Row, Turn, check, take_turns
from benchmarks.worker.sides import (
    DEAD_LETTERS,
    FLOOR,
    HARNESS,
    OURS,
    RESULTS,
    SIDES,
    STOCK,
    TUNED,
    stage,
    traffics,
)
from pipeline.pubsub.protos import PubsubMessage
from tests.benchmarks.conftest import UsageError

MACHINE = Machine("cpu", torch_threads=1)


class Answering:
    """A process that answers at once: with what `answer` makes of a bundle's messages."""

    def __init__(self, answer: Callable[[list[bytes]], dict[str, list[bytes]]]) -> None:
        self._answer = answer
        self.bundles = 0

    def submit(self, pieces: Any) -> Future[Bundle]:
        self.bundles += 1
        outputs = self._answer(list(decode(pieces)))
        done: Future[Bundle] = Future()
        done.set_result(Bundle({topic: encode(some, 0.0) for topic, some in outputs.items()}, ()))
        return done

    def cpu_seconds(self) -> float:
        return 0.25 * self.bundles


def results_of(messages: list[bytes], **changes: Any) -> list[bytes]:
    traffic = traffics()["json30"]
    protos = [PubsubMessage.FromString(message) for message in messages]
    return [
        PubsubMessage(
            data=orjson.dumps({"prediction": float(prediction), **changes}), attributes=proto.attributes
        ).SerializeToString()
        for proto, prediction in zip(protos, traffic.predictions(protos), strict=True)
    ]


def test_answers_must_be_the_models_and_in_order() -> None:
    traffic = traffics()["json30"]
    messages = traffic.messages(3)

    def with_(answer: Callable[[list[bytes]], dict[str, list[bytes]]], side: str = OURS) -> None:
        check(side, Answering(answer), traffic, messages)  # type: ignore[arg-type]

    with_(lambda some: {RESULTS: results_of(some)})
    with_(lambda some: {RESULTS: some}, HARNESS)
    for answer, reason in (
        (lambda some: {RESULTS: results_of(some, prediction=0.5)}, "other predictions"),
        (lambda some: {RESULTS: results_of(some)[::-1]}, "in their order"),
        (lambda some: {RESULTS: results_of(some)[1:]}, "not one result"),
        (lambda some: {RESULTS: results_of(some), DEAD_LETTERS: some[:1]}, "not one result"),
    ):
        with pytest.raises(WrongAnswerError, match=reason):
            with_(answer)
    with pytest.raises(WrongAnswerError, match="other bytes"):
        with_(lambda some: {RESULTS: [b"", *some[1:]]}, HARNESS)


def test_sides_take_turns_and_lose_nothing() -> None:
    cells = Cells((OURS, FLOOR), (2,), (1,), rounds=3, turn_s=1e-9)
    bundle = encode([b"one", b"two"], 0.0)
    sides = {side: Answering(lambda some: {RESULTS: some}) for side in cells.sides}
    turns = take_turns(sides, bundle, 2, 1, cells)  # type: ignore[arg-type]
    assert list(turns) == [OURS, FLOOR]
    for found in turns.values():
        assert [turn.bundles for turn in found] == [1, 1, 1]  # each turn has one bundle at least
        assert [turn.cpu_us for turn in found] == [125_000.0] * 3
    losing = {OURS: Answering(lambda some: {RESULTS: some[1:]})}
    with pytest.raises(WrongAnswerError, match="out of a bundle of 2"):
        take_turns(losing, bundle, 2, 1, cells)  # type: ignore[arg-type]


@pytest.mark.parametrize("side", SIDES)
def test_each_side_is_one_stage_to_the_results(side: str, tmp_path: Path) -> None:
    found = FusedStage.of(stage(side, traffics()["json30"], tmp_path / "side").proto)
    assert RESULTS in found.topics.values()
    names = {transform.unique_name for transform in found.descriptor.transforms.values()}
    assert any("RunInference" in name for name in names) == (side in (OURS, STOCK, TUNED))


def test_stock_has_no_binary_side() -> None:
    float32 = traffics()["float32"]
    assert [side for side in SIDES if float32.has(side)] == [OURS, FLOOR, HARNESS]
    json, binary = (traffics()[name] for name in ("json1024", "float32"))
    assert json.predictions(json.messages(2)) == pytest.approx(binary.predictions(binary.messages(2)))


def row(side: str, bundle: int, cpu_us: float, threads: int = 1, rate: float = 1000.0) -> Row:
    return Row("json30", side, bundle, threads, (Turn(1, cpu_us, rate),))


def test_what_a_side_adds_is_a_line_through_its_sizes() -> None:
    floor, sizes = {1: 2000.0, 10: 220.0, 100: 40.0, 1000: 22.0}, (1, 10, 100, 1000)
    rows = [
        *(row(OURS, size, floor[size] + 12 + 400 / size) for size in sizes),
        *(row(FLOOR, size, floor[size]) for size in sizes),
        *(row(HARNESS, size, 5.0) for size in sizes),
    ]
    (found,) = report.added(rows)
    assert (found.side, found.workload, found.threads) == (OURS, "json30", 1)
    assert (found.message_us, found.bundle_us) == pytest.approx((12.0, 400.0))
    assert report.added([each for each in rows if each.bundle == 1]) == []
    assert report.added([each for each in rows if each.side != FLOOR]) == []


def test_verdicts() -> None:
    assert {each.met for each in report.verdicts([])} == {None}
    rows = [
        *(row(OURS, 1000, 35.0), row(TUNED, 1000, 100.0), row(FLOOR, 1000, 20.0)),
        *(row(OURS, 100, 60.0), row(FLOOR, 100, 40.0), row(OURS, 10, 300.0), row(FLOOR, 10, 200.0)),
        *(row(OURS, 1, 1.0, 12, rate=300.0), row(TUNED, 1, 1.0, 12, rate=100.0)),
    ]
    found = report.verdicts(rows)
    assert [each.met for each in found] == [True, False, False, True, False, None, True]
    assert [each.value for each in found[:5]] == pytest.approx([35.0, 0.35, 1.75, 20.0, 100.0])
    assert (math.isnan(found[5].value), found[6].value) == (True, 3.0)


def test_the_report_has_price_and_rate() -> None:
    text = io.StringIO()
    rows = [row(OURS, 1000, 36.0), row(STOCK, 1000, 72.0)]
    report.show(Console(file=text, width=140), rows, traffics(), MACHINE)
    (ours,) = (line for line in text.getvalue().splitlines() if "this job" in line)
    assert "27,778" in ours  # messages a second of a vCPU
    assert "0.00069" in ours  # a million take 36 s of a vCPU
    assert "0.500" in ours  # of stock
    figures = report.figures(rows, MACHINE)
    assert figures["price_vcpu_hour"] == 0.069


def test_flags(tmp_path: Path) -> None:
    defaults = parse([])
    assert (defaults.out, defaults.cells.sides, defaults.cells.bundles) == (
        cli.FOLDER,
        SIDES,
        (1, 10, 100, 1000),
    )
    options = parse(
        [
            *(f"--out={tmp_path}", "--sides=floor,ours", "--bundles=1000,1", "--threads=12"),
            *("--workloads=float32", "--rounds=2", "--turn_s=0.5"),
        ]
    )
    assert options.cells == Cells((OURS, FLOOR), (1, 1000), (12,), 2, 0.5)
    assert (options.out, options.workloads) == (tmp_path, ("float32",))


@pytest.mark.parametrize(
    "flag",
    [
        *(
            "--rounds=0",
            "--turn_s=0.1",
            "--turn_s=nan",
            "--turn_s=inf",
            "--sides=theirs",
            "--bundles=7",
            "--threads=2",
        ),
        *("--workloads=image", "--out=/no/such/folder"),
    ],
)
def test_wrong_flags_end_with_exit_code_2(flag: str, usage_error: UsageError) -> None:
    assert flag.split("=")[0] in usage_error(parse, flag)


@pytest.mark.slow
@pytest.mark.parametrize(("workload", "sides"), [("json30", SIDES), ("float32", (OURS, FLOOR, HARNESS))])
def test_a_short_run(workload: str, sides: tuple[str, ...], tmp_path: Path) -> None:
    flags = [f"--workloads={workload}", "--rounds=1", "--turn_s=0.2", "--bundles=10", "--threads=1"]
    assert main([*flags, f"--out={tmp_path}"]) == 0
    figures = orjson.loads((tmp_path / "worker.json").read_bytes())
    assert [(each["workload"], each["side"], each["bundle"]) for each in figures["rows"]] == [
        (workload, side, 10) for side in sides
    ]
    text = (tmp_path / "worker.txt").read_text()
    assert ("reads no binary bodies" in text) == (workload == "float32")
    assert str(tmp_path) not in text
