from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.auc import Scores
from loadtest.driver.answers import Answers
from loadtest.records import Records
from pipeline.pubsub.protos import PubsubMessage, StreamingPullResponse

T0 = 1.7e9


def received(request_id: str | None, data: bytes = b"{}", ack_id: str = "ack", **attributes: str) -> Any:
    named = attributes if request_id is None else attributes | {"request_id": request_id}
    response = StreamingPullResponse()
    response.received_messages.add(ack_id=ack_id, message=PubsubMessage(data=data, attributes=named))
    return response.received_messages[0]


@pytest.fixture
def make_answers(tmp_path: Path) -> Callable[[], Answers]:
    records = Records([b"{}"], [None], [None])
    return lambda: Answers("cafe", T0 + np.arange(3) / 10, Scores(records), tmp_path)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_first_arrivals_and_duplicates(make_answers: Callable[[], Answers], tmp_path: Path) -> None:
    body = json.dumps(
        {"latency_ms": {"queue": 1, "batch_wait": None, "inference": 2.5, "server": 2, "total": 9}}
    ).encode()
    with make_answers() as answers:
        assert answers.add(
            "result", T0 + 0.5, [received("cafe-1", body, "a"), received("cafe-0", b"{}", "b")]
        ) == [
            "a",
            "b",
        ]
        answers.add("result", T0 + 0.6, [received("cafe-1", b'{"latency_ms": {"queue": 7}}')])
    assert (answers.received, answers.answered, answers.deliveries, answers.duplicates) == (2, 2, 3, 1)
    np.testing.assert_array_equal(answers.result_at, [T0 + 0.5, T0 + 0.5, np.nan])
    np.testing.assert_array_equal(answers.stages_ms[1], [1, np.nan, 2.5, 2])
    assert np.isnan(answers.stages_ms[0]).all()
    written = lines(tmp_path / "results.jsonl")
    assert [(line["sequence"], line["duplicate"]) for line in written] == [(1, False), (0, False), (1, True)]
    assert written[0]["latency_ms"] == pytest.approx(400, abs=1e-3)
    assert written[0]["result"] == json.loads(body)
    assert written[2]["collected"] == T0 + 0.6


@pytest.mark.parametrize("order", [("result", "dead_letter"), ("dead_letter", "result")])
def test_a_result_and_a_dead_letter_for_one_request_show(
    make_answers: Callable[[], Answers], order: tuple[Any, Any]
) -> None:
    with make_answers() as answers:
        for kind in order:
            answers.add(kind, T0 + 1, [received("cafe-2")])
    assert (answers.received, answers.dead_lettered, answers.answered, answers.duplicates) == (1, 1, 1, 1)


def test_a_negative_latency_is_kept(make_answers: Callable[[], Answers], tmp_path: Path) -> None:
    with make_answers() as answers:
        answers.add("result", T0 - 0.25, [received("cafe-0")])
    assert lines(tmp_path / "results.jsonl")[0]["latency_ms"] == pytest.approx(-250, abs=1e-3)
    assert answers.received == 1


@pytest.mark.parametrize(
    "request_id",
    [None, "", "beef-1", "cafe", "cafe-3", "cafe--1", "cafe-x", "cafe-²", "cafe-" + "9" * 5000, "xcafe-1"],
)
def test_what_is_not_ours_is_counted_and_left_alone(
    make_answers: Callable[[], Answers], request_id: str | None
) -> None:
    with make_answers() as answers:
        assert answers.add("result", T0, [received(request_id)]) == []
    assert (answers.foreign, answers.deliveries) == (1, 0)


def test_the_probe_is_acknowledged_and_not_counted(
    make_answers: Callable[[], Answers], tmp_path: Path
) -> None:
    with make_answers() as answers:
        assert not answers.probe_answered.is_set()
        assert answers.add("dead_letter", T0, [received("cafe-probe", ack_id="p")]) == ["p"]
        assert answers.probe_answered.is_set()
    assert (answers.deliveries, answers.foreign) == (0, 0)
    assert lines(tmp_path / "dead_letters.jsonl") == []


@pytest.mark.parametrize("data", [b"", b"\xff", b"[1]", b'{"a": ' + b"[" * 5000])
def test_an_unreadable_result_is_an_answer_still(
    make_answers: Callable[[], Answers], tmp_path: Path, data: bytes
) -> None:
    with make_answers() as answers:
        answers.add("result", T0, [received("cafe-0", data)])
    assert (answers.received, answers.unreadable) == (1, 1)
    assert len(lines(tmp_path / "results.jsonl")) == 1


def test_a_result_that_is_deep_or_huge_does_no_harm(
    make_answers: Callable[[], Answers], tmp_path: Path
) -> None:
    """Whoever may publish results may publish these."""
    deep = b"[" * 250 + b"]" * 250
    results = [
        b'{"prediction": %s, "passthrough": {"label": %s}, "latency_ms": {"queue": 4}}' % (deep, deep),
        b'{"prediction": 1,\r\n "latency_ms": {"queue": 1e999}, "passthrough": []}',
        b'{"prediction": %s}' % (b"[" * 1_000 + b"]" * 1_000),
    ]
    with make_answers() as answers:
        for sequence, data in enumerate(results):
            answers.add("result", T0, [received(f"cafe-{sequence}", data)])
        tracemalloc.start()
        answers.add("result", T0, [received("cafe-0", b'{"passthrough": {"x": [%s0]}}' % (b"[]," * 300_000))])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 * 900_000
    assert (answers.received, answers.unreadable) == (3, 1)
    assert answers.stages_ms[0, 0] == 4
    written = lines(tmp_path / "results.jsonl")
    assert [line["result"] is None for line in written] == [False, False, True, False]


@pytest.mark.parametrize(("data", "text"), [(b'{"f": 1}', '{"f": 1}'), (b"\xff\x00", None), (b"", "")])
def test_a_dead_letter_keeps_its_bytes_and_reason(
    make_answers: Callable[[], Answers], tmp_path: Path, data: bytes, text: str | None
) -> None:
    with make_answers() as answers:
        answers.add("dead_letter", T0 + 1, [received("cafe-1", data, error_stage="decode")])
    (line,) = lines(tmp_path / "dead_letters.jsonl")
    assert line == {
        "sequence": 1,
        "collected": T0 + 1,
        "duplicate": False,
        "attributes": {"request_id": "cafe-1", "error_stage": "decode"},
        "data": text,
        "data_base64": base64.b64encode(data).decode(),
    }
