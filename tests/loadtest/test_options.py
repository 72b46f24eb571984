from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest

from loadtest.options import RunOptions, make_parser, parse

FLAGS = {
    "project": "project",
    "input_topic": "requests",
    "output_subscription": "results",
    "rate": "100",
    "duration": "5",
    "schedule": "poisson",
    "seed": "3",
}


@pytest.fixture
def flags(input_file: Path, tmp_path: Path) -> dict[str, str]:
    return FLAGS | {"input": str(input_file), "out": str(tmp_path / "out")}


def arguments(flags: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def test_good_flags_are_typed_and_named_in_full(flags: dict[str, str], input_file: Path) -> None:
    options, problems = parse(
        arguments(flags | {"dead_letter_subscription": "projects/other/subscriptions/dead"})
    )
    assert problems == []
    assert (options.rate, options.seed, options.input.bodies) == (100.0, 3, input_file.read_bytes().split())
    assert options.topic_path == "projects/project/topics/requests"
    assert options.output_path == "projects/project/subscriptions/results"
    assert options.dead_letter_path == "projects/other/subscriptions/dead"
    assert (options.warmup, options.drain_timeout, options.ready_timeout) == (0, 60, 120)


def test_an_empty_flag_is_not_given(flags: dict[str, str]) -> None:
    required = {option.name for option in fields(RunOptions) if option.default is MISSING}
    given = {name: text for name, text in flags.items() if name in required}
    empty = [f"--{option.name}=" for option in fields(RunOptions) if option.name not in required]
    assert parse([*arguments(given), *empty]) == parse(arguments(given))
    assert parse([*arguments(given), *empty])[1] == []
    _, problems = parse([f"--{name}=" for name in sorted(required)])
    assert {problem.split(" ")[0] for problem in problems} == {f"--{name}" for name in required}
    assert all(" is missing" in problem for problem in problems)


def test_no_flags_at_all_names_each_missing_one() -> None:
    _, problems = parse([])
    required = ["project", "input_topic", "output_subscription", "rate", "duration", "input", "out"]
    assert sorted(line.split()[0].removeprefix("--") for line in problems) == sorted(required)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"rate": "0"}, "--rate=0 must be a number above 0"),
        ({"rate": "-1"}, "--rate=-1 must be a number above 0"),
        ({"rate": "fast"}, "--rate=fast must be a number"),
        ({"rate": "nan"}, "--rate=nan must be a number above 0"),
        ({"rate": "1e9"}, "--rate times --duration is above 50,000,000 messages"),
        ({"duration": "0"}, "--duration=0 must be a number above 0"),
        ({"duration": "inf"}, "--duration=inf must be a number above 0"),
        ({"warmup": "-1"}, "--warmup=-1 must be a number of at least 0"),
        ({"drain_timeout": "-1"}, "--drain_timeout=-1 must be a number of at least 0"),
        ({"ready_timeout": "0"}, "--ready_timeout=0 must be a number above 0"),
        (
            {"schedule": "square"},
            "--schedule=square is unknown: choose one of constant, poisson, ramp, step,",
        ),
        ({"schedule": "ramp"}, "--to_rate is missing: give the messages a second that ramp goes to"),
        ({"schedule": "sine", "to_rate": "0"}, "--to_rate=0 must be a number above 0"),
        ({"to_rate": "5"}, "--to_rate has no part in --schedule=poisson: leave it out"),
        ({"schedule": "sine", "to_rate": "9", "width": "1"}, "--width has no part in --schedule=sine"),
        ({"schedule": "burst", "to_rate": "9", "width": "x"}, "--width=x must be a number"),
        ({"schedule": "burst", "to_rate": "9", "width": "1"}, "--width=1 must be below --period (1)"),
        ({"schedule": "spike", "to_rate": "9", "width": "6"}, "--width=6 must be below --duration (5)"),
        ({"schedule": "step", "to_rate": "9", "steps": "1"}, "--steps=1 must be from 2 to 1,000"),
        ({"schedule": "step", "to_rate": "9", "steps": "two"}, "--steps=two must be an integer"),
        ({"schedule": "ramp", "to_rate": "1e9"}, "--rate times --duration is above 50,000,000 messages"),
        ({"payload_seed": "-1"}, "--payload_seed=-1 must be an integer of at least 0"),
        ({"seed": "1.5"}, "--seed=1.5 must be an integer"),
        ({"seed": "-1"}, "--seed=-1 must be an integer of at least 0"),
        ({"project": ""}, "--project is missing"),
        (
            {"input_topic": "projects/p/subscriptions/t"},
            "--input_topic=projects/p/subscriptions/t is not a name of",
        ),
        ({"input_topic": "t"}, "--input_topic=t: an id has 3 to 255"),
        ({"output_subscription": "goog-results"}, "--output_subscription=goog-results: an id has"),
        ({"dead_letter_subscription": "results"}, "--dead_letter_subscription equals --output_subscription"),
        ({"input": "/no/such/file"}, "--input: cannot read /no/such/file (No such file or directory)"),
        ({"colour": "red"}, "--colour: there is no such flag; see --help"),
        ({"rat": "5"}, "--rat: there is no such flag; did you mean --rate?"),
    ],
)
def test_one_mistake_gives_one_line(flags: dict[str, str], change: dict[str, str], line: str) -> None:
    _, problems = parse(arguments(flags | change))
    assert len(problems) == 1
    assert problems[0].startswith(line)


def test_all_mistakes_are_listed_at_once(flags: dict[str, str]) -> None:
    wrong = {
        "rate": "fast",
        "duration": "-1",
        "schedule": "square",
        "input": "/no/such/file",
        "colour": "red",
    }
    _, problems = parse(arguments(flags | wrong))
    assert {line.split("=")[0].split(":")[0] for line in problems} == {f"--{name}" for name in wrong}
    assert not any("\n" in line for line in problems)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", ["holds no record"]),
        (b"\n \n", ["holds no record"]),
        (b'{"a": 1}\n[1]\n{"a"\n', ["line 2 of", "line 3 of"]),
        (b"\xff\n", ["line 1 of"]),
        (b"1\n" * 9, [f"line {n} of" for n in range(1, 6)] + ["4 more lines of"]),
        (b'{"a": "' + b"x" * 9_500_000 + b'"}', ["line 1 of"]),
        (b'{"label": ' + b"[" * 300 + b"]" * 300 + b"}", ["line 1 of"]),
        (b'{"label": ' + b"[" * 9_000 + b"]" * 9_000 + b"}", ["line 1 of"]),
    ],
)
def test_input_lines_must_be_json_objects(flags: dict[str, str], content: bytes, lines: list[str]) -> None:
    Path(flags["input"]).write_bytes(content)
    _, problems = parse(arguments(flags))
    assert len(problems) == len(lines)
    for problem, expected in zip(problems, lines, strict=True):
        assert problem.startswith("--input: ")
        assert expected in problem


def test_out_under_a_file_is_refused(flags: dict[str, str]) -> None:
    for place in (flags["input"], flags["input"] + "/runs"):
        _, problems = parse(arguments(flags | {"out": place}))
        assert [line.split("=")[0] for line in problems] == ["--out"]


def test_help_names_every_flag() -> None:
    text = make_parser().format_help()
    assert all(f"--{option.name}" in text for option in fields(RunOptions))


def test_a_trace_brings_rate_and_duration_along(flags: dict[str, str], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("10\n10.5\n11\n12.25\n")
    own = {name: text for name, text in flags.items() if name not in ("rate", "duration")}
    options, problems = parse(arguments(own | {"schedule": "trace", "trace": str(trace)}))
    assert problems == []
    assert (options.rate, options.duration) == (4 / 3, 3.0)
    np.testing.assert_array_equal(options.arrivals.offsets(), [0, 0.5, 1, 2.25])


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ({"schedule": "trace"}, ["--trace is missing"]),
        (
            {"schedule": "constant", "rate": "1", "duration": "1", "trace": "T"},
            ["--trace: give --schedule=trace"],
        ),
        ({"schedule": "trace", "trace": "T", "warmup": "1"}, ["--warmup does not go with"]),
        ({"schedule": "trace", "trace": "T", "rate": "1"}, ["--rate has no part in --schedule=trace"]),
        ({"schedule": "trace", "trace": "/no/such"}, ["--trace: cannot read /no/such"]),
    ],
)
def test_what_does_not_go_with_a_trace(
    flags: dict[str, str], tmp_path: Path, change: dict[str, str], lines: list[str]
) -> None:
    (tmp_path / "T").write_text("0\n1\n")
    own = {name: text for name, text in flags.items() if name not in ("rate", "duration")}
    given = {name: str(tmp_path / "T") if text == "T" else text for name, text in change.items()}
    _, problems = parse(arguments(own | given))
    assert len(problems) == len(lines)
    assert all(problem.startswith(line) for problem, line in zip(problems, lines, strict=True)), problems
