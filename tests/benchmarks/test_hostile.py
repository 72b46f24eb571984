"""The arithmetic of `benchmarks.hostile`, its inputs and its processes; nothing is timed."""

from __future__ import annotations

import io
import itertools
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from rich.console import Console

from benchmarks.harness.processes import children, peak_resident_mib, resident_mib
from benchmarks.hostile import files
from benchmarks.hostile.__main__ import TARGETS, parse
from benchmarks.hostile.attack import attack_container
from benchmarks.hostile.attacker import Attack, attacking
from benchmarks.hostile.calls import CALLS, GOOD, HostileCall
from benchmarks.hostile.good import Good
from benchmarks.hostile.job import Begin
from benchmarks.hostile.measures import Measured, Turn, percentiles
from benchmarks.hostile.messages import MESSAGES
from benchmarks.hostile.report import figures, show
from loadtest.display import Progress
from pipeline.pubsub.limits import MAX_MESSAGE_BYTES
from tests.benchmarks.conftest import UsageError


def turn(p99: float, answered: int = 100, mib: float = 300, restarts: int = 0, outcomes: Any = None) -> Turn:
    return Turn(100, answered, [p99] * answered, mib, restarts, outcomes or {})


QUIET = turn(10)


@pytest.mark.parametrize(
    ("hostile", "met"),
    [
        (turn(20, mib=500), [True, True, True, True]),
        (turn(20.1), [True, True, True, False]),
        (turn(10, mib=501), [True, True, False, True]),
        (turn(10, answered=99), [False, True, True, True]),
        (turn(10, restarts=1), [True, False, True, True]),
    ],
)
def test_goals(hostile: Turn, met: list[bool]) -> None:
    one = Measured("job", [QUIET], [hostile])
    assert [verdict.met for verdict in one.verdicts] == met
    console = Console(file=io.StringIO(), width=110)
    show(console, 200, 0.5, [one])
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("not met") == met.count(False)
    verdicts: Any = figures(200, 0.5, [one])["verdicts"]
    assert [verdict["met"] for verdict in verdicts] == met


def test_one_turn_that_misses_is_enough() -> None:
    one = Measured("job", [QUIET, QUIET], [turn(10), turn(10, answered=99, mib=501, restarts=2)])
    assert [verdict.met for verdict in one.verdicts] == [False, False, False, True]
    assert [verdict.value for verdict in one.verdicts] == [1, 2, 201, 1]


def test_latencies_of_all_turns_count_alike() -> None:
    assert percentiles([turn(1, answered=99), turn(100, answered=1)])["p99"] == pytest.approx(1.99)
    assert percentiles([turn(1), turn(7)])["max"] == 7


def test_outcomes_are_added_up() -> None:
    turns = [
        turn(1, outcomes={"a": {"413": 1}, "b": {"reset": 2}}),
        turn(1, outcomes={"a": {"413": 2, "200": 1}}),
    ]
    one = Measured("container", [QUIET], turns)
    assert one.outcomes == {"a": {"413": 3, "200": 1}, "b": {"reset": 2}}
    console = Console(file=io.StringIO(), width=110)
    show(console, 200, 0.5, [one])
    assert isinstance(console.file, io.StringIO)
    assert "  a: 200 1, 413 3\n" in console.file.getvalue()


def test_the_messages_can_be_published() -> None:
    assert len(MESSAGES) > 40
    assert max(len(message.data) for message in MESSAGES.values()) > 0.89 * MAX_MESSAGE_BYTES
    for name, message in MESSAGES.items():
        attributes = sum(len(key) + len(value) for key, value in message.attributes.items())
        assert len(message.data) + attributes < MAX_MESSAGE_BYTES - 500, name
        assert len(message.attributes) < 100, name


def test_the_good_answers_are_the_models() -> None:
    good = Good.read()
    assert len(good.features) == len(good.predictions) > 100
    assert good.is_right(3, float(good.predictions[3]))
    assert good.is_right(3 + len(good.predictions), float(good.predictions[3]))
    assert not good.is_right(4, float(good.predictions[3]))
    assert not good.is_right(3, None)
    (row,) = orjson.loads(good.body(3))["instances"]
    assert np.float32(row) == pytest.approx(good.features[3])


def test_what_becomes_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers one call, closes one, and leaves a held one open."""
    calls = {
        "answered": HostileCall(b"GET /a"),
        "closed": HostileCall(b"GET /c"),
        "held": HostileCall(b"GET /h", held=True, connections=2),
    }
    monkeypatch.setattr("benchmarks.hostile.attack.CALLS", calls)
    over = threading.Event()
    kept: list[socket.socket] = []

    def serve(server: socket.socket) -> None:
        for number in itertools.count(1):
            try:
                connection, _ = server.accept()
            except OSError:  # the test is over
                return
            data = connection.recv(100)
            if data.endswith(b"a"):
                connection.sendall(b"HTTP/1.1 418 I'm a teapot\r\n\r\n")
            if data.endswith(b"h"):
                kept.append(connection)
            else:
                connection.close()
            if number == 4:
                over.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        outcomes = attack_container(f"127.0.0.1:{server.getsockname()[1]}", 0.01, over)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in kept:
        connection.close()
    # A second round may have begun before the first was over.
    assert {name: set(counts) for name, counts in outcomes.items()} == {
        "answered": {"418"},
        "closed": {"closed"},
        "held": {"no answer"},
    }
    assert outcomes["held"]["no answer"] == 2 * outcomes["answered"]["418"]


def test_calls_are_what_they_say() -> None:
    held = {name for name, call in CALLS.items() if call.held}
    assert {"silent", "half a header", "a body short of a byte", "chunks without an end"} < held
    head, _, body = CALLS["a body short of a byte"].data.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % (len(body) + 1) in head
    assert GOOD.startswith(body)


@pytest.mark.slow
def test_hostile_files_lie_beside_a_good_one(tmp_path: Path) -> None:
    good = Good.read()
    files.write_good(tmp_path, good)
    assert (tmp_path / files.POINTER).read_text() == files.GOOD
    golden = (tmp_path / f"{files.GOOD}{files.GOLDEN}").read_bytes().splitlines()
    assert orjson.loads(golden[3])["prediction"] == pytest.approx(float(good.predictions[3]))
    pointers = files.write(tmp_path)
    assert len(pointers) > 40
    names = {path.name for path in tmp_path.iterdir()}
    there = {content.decode() for content in pointers.values() if content.isascii()} & names
    assert len(there) > 30
    assert all(f"{name}{files.GOLDEN}" in names for name in there)
    assert not (tmp_path / "marker").exists()
    assert (tmp_path / files.POINTER).read_text() == files.GOOD


@pytest.mark.slow
def test_the_attack_on_files_begins_when_it_is_told_to_and_leaves_the_pointer(tmp_path: Path) -> None:
    files.write_good(tmp_path, Good.read())
    with attacking(0.001, "files", str(tmp_path)) as attack:
        assert (tmp_path / files.POINTER).read_text() == files.GOOD
        begin = Begin(attack)
        begin.update(Progress("waiting for the job", 0, total=9))
        assert not attack.begun
        begin.update(Progress("sending", 1, total=9, sent=1))
        begin.update(Progress("sending", 2, total=9, sent=2))
        assert attack.begun
        attack.end()
    assert attack.outcomes
    assert all(counts["pointed to"] >= 1 for counts in attack.outcomes.values())
    assert (tmp_path / files.POINTER).read_text() == files.GOOD


def test_no_attack_has_no_outcome() -> None:
    attack = Attack()
    attack.begin()
    attack.end()
    assert attack.outcomes == {}


@pytest.mark.slow
def test_an_attack_that_fails_is_told(tmp_path: Path) -> None:
    with attacking(1, "files", str(tmp_path)) as attack:
        attack.begin()
        with pytest.raises(subprocess.CalledProcessError):
            attack.end()


def test_code_of_a_file_that_ran_is_a_goal_of_its_own() -> None:
    ran = Turn(100, 100, [10.0] * 100, 300, 0, ran=True)
    assert [verdict.met for verdict in Measured("files", [QUIET], [ran]).verdicts] == [True] * 3 + [
        False,
        True,
    ]
    one = Measured("answers", [QUIET], [turn(1000)], p99_held=False)
    assert [verdict.met for verdict in one.verdicts] == [True] * 3


def test_memory_and_children_of_a_process() -> None:
    assert peak_resident_mib(os.getpid()) >= resident_mib(os.getpid()) > 10
    before = children(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert children(os.getpid()) - before == {child.pid}


@pytest.mark.parametrize("flag", ["--rate=0", "--seconds=0", "--every=0", "--every=nan", "--rounds=0"])
def test_wrong_flags(flag: str, usage_error: UsageError) -> None:
    assert flag.partition("=")[0] in usage_error(parse, flag)


def test_all_targets_by_default() -> None:
    assert parse([]).targets == tuple(TARGETS)
