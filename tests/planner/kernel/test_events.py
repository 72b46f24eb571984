"""Simulated time, and stations whose jobs share what they do."""

from __future__ import annotations

import pytest

from planner.kernel.events import Events, Interpreter


def test_events_come_in_order_and_those_of_one_time_in_the_order_of_their_calls() -> None:
    events, seen = Events(), list[str]()
    for time, name in ((2.0, "c"), (1.0, "a"), (1.0, "b")):
        events.at(time, seen.append, name)
    events.run()
    assert seen == ["a", "b", "c"]
    assert events.now == 2.0


def test_two_jobs_share_a_cpu() -> None:
    # The first runs alone for a second, then both at half speed: its second second takes two.
    events, ended = Events(), dict[str, float]()
    cpu = events.station(lambda demand: min(1.0, 1 / demand))

    def end(name: str) -> None:
        ended[name] = events.now

    cpu.start(0.0, 2.0, 1.0, end, "first")
    events.at(1.0, lambda _: cpu.start(1.0, 2.0, 1.0, end, "second"))
    events.run()
    assert ended == {"first": pytest.approx(3.0), "second": pytest.approx(4.0)}
    assert cpu.used(events.now) == pytest.approx(4.0)


def test_work_beyond_the_cpus_is_not_used() -> None:
    events = Events()
    cpus = events.station(lambda demand: min(1.0, 2 / demand))
    for _ in range(8):
        cpus.start(0.0, 1.0, 1.0, lambda _: None, None)
    events.run()
    assert events.now == pytest.approx(4.0)
    assert cpus.used(events.now) / events.now == pytest.approx(2.0)


def test_an_interpreter_does_one_thing_at_a_time_in_order() -> None:
    events, ended = Events(), list[tuple[str, float]]()
    cpus = events.station(lambda demand: 1.0)
    interpreter = Interpreter(events, cpus)
    for name in ("a", "b"):
        interpreter.run(1.0, lambda name: ended.append((name, events.now)), name)
    events.run()
    assert ended == [("a", 1.0), ("b", 2.0)]


def test_no_work_is_no_event() -> None:
    events, ended = Events(), list[str]()
    Interpreter(events, events.station(lambda demand: 1.0)).run(0.0, ended.append, "at once")
    assert ended == ["at once"]
