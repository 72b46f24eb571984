"""`./launch.sh send`: to a job that runs, and its flags; with a job of its own it is in tests/integration."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.send import send_command
from pipeline.pubsub.protos import PubsubMessage
from tests.loadtest.conftest import DEAD_LETTER_TOPIC, INPUT, INPUT_TOPIC, OUTPUT_TOPIC, Hub, hub
from tests.loadtest.echo import Answer, echo, result_message
from tests.waiting import LIMIT_S

__all__ = ["hub"]  # a fixture

TOPICS = [
    f"--input_topic={INPUT_TOPIC}",
    f"--output-topic={OUTPUT_TOPIC}",
    f"--dead_letter_topic={DEAD_LETTER_TOPIC}",
]


def answering(message: Any) -> list[Answer]:
    """Answer features by a result; anything else by a dead letter, or not at all."""
    if message.data.startswith(b'{"features"'):
        # Of others there are some, too.
        foreign = PubsubMessage(data=b"{}", attributes={"request_id": "other-1"})
        return [(OUTPUT_TOPIC, foreign), (OUTPUT_TOPIC, result_message(message))]
    if message.data == b"silence":
        return []
    told = {"error_stage": "decode", "error_type": "DecodeError", "error_message": "not \x1b[2J JSON"}
    return [(DEAD_LETTER_TOPIC, PubsubMessage(data=message.data, attributes={**message.attributes, **told}))]


@pytest.fixture
def job(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Yield the broker of a job on TOPICS; no process may be started."""

    def started(*arguments: object, **options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    with echo(hub.calls, INPUT, answering):
        yield hub


def test_a_result_is_shown_and_exits_0(job: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert send_command(['{"features": [0.5]}', *TOPICS, f"--timeout={LIMIT_S}"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["prediction"] == 0.5


def test_a_dead_letter_is_shown_and_exits_1(job: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    bodies = ["no json", '{"features": [1]}']
    assert send_command([*bodies, *TOPICS, f"--timeout={LIMIT_S}"]) == 1
    output = capsys.readouterr().out
    assert "\x1b" not in output
    letters = [json.loads(line)["dead_letter"] for line in output.splitlines() if "dead_letter" in line]
    assert letters == [
        {
            "error_stage": "decode",
            "error_type": "DecodeError",
            "error_message": "not \x1b[2J JSON",
            "data": "no json",
        }
    ]
    assert len(output.splitlines()) == 2


def test_silence_exits_3(job: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert send_command(["silence", *TOPICS, "--timeout=0.5"]) == 3
    assert "1 of 1 not answered in time" in capsys.readouterr().err


def test_subscriptions_are_gone_afterwards(job: Hub) -> None:
    send_command(["silence", *TOPICS, "--timeout=0.2"])
    for topic in (OUTPUT_TOPIC, DEAD_LETTER_TOPIC):
        assert not [name for name in subscriptions_of(topic) if "/send-" in name]


def subscriptions_of(topic: str) -> list[str]:
    from google.cloud import pubsub_v1

    client = pubsub_v1.PublisherClient()
    names = list(client.list_topic_subscriptions(topic=topic))
    client.stop()
    return names


def test_where_no_broker_listens_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")
    assert send_command(["{}", *TOPICS]) == 1
    assert "send: nothing answers at PUBSUB_EMULATOR_HOST=127.0.0.1:9: start a broker there" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--random"], 1),
        (["--random", "--count=3"], 3),
        (['{"features": [1]}', "--count=4"], 4),
        (["--input=FILE"], 2),
        (["--input=FILE", "--count=1"], 1),
        (["--random", "--", "--input_shape=2x3"], 1),
    ],
)
def test_what_is_sent(
    job: Hub, arguments: list[str], count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "requests.jsonl").write_text('{"features": [1]}\n{"features": [2]}\n')
    given = [text.replace("FILE", str(tmp_path / "requests.jsonl")) for text in arguments]
    assert send_command([*TOPICS, f"--timeout={LIMIT_S}", *given]) == 0
    assert len(capsys.readouterr().out.splitlines()) == count


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["what to send?"]),
        (["{}", "--random"], ["what to send?"]),
        (["{}", "--count=0"], ["--count: '0' is not a whole number"]),
        (["{}", "--timeout=no"], ["--timeout: 'no' is not a number of seconds"]),
        (["{}", "--timout=1"], ["--timout: there is no such flag; did you mean --timeout?"]),
        (["{}", TOPICS[0]], ["--output_topic: missing", "--dead_letter_topic: missing"]),
        (["{}", *TOPICS[:2], "--dead_letter_topic=d"], ["--dead_letter_topic: 'd' is not the full name"]),
        (["--input=/no/such"], ["--input: cannot read /no/such"]),
        (["{}", "--", "--runner=DirectRunner"], ["--runner: a local run sets it itself"]),
        (["--random", "--", "--decode_hook=a:b"], ["--random: with --decode_hook"]),
    ],
)
def test_wrong_flags_exit_2_before_anything_starts(
    arguments: list[str],
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    assert send_command(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(expected), lines
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True)), lines


def test_a_topic_that_is_not_there(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    topics = ["--input_topic=projects/project/topics/missing", *TOPICS[1:]]
    assert send_command(["{}", *topics]) == 1
    assert "cannot publish to projects/project/topics/missing: NOT_FOUND" in capsys.readouterr().err
