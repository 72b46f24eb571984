"""What the experiments' command lines share."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks.harness import cli
from tests.benchmarks.conftest import UsageError


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    return cli.new_parser("experiment", "The first line.\n\nAnother.")


def test_the_help_names_the_command_and_the_defaults(parser: argparse.ArgumentParser) -> None:
    cli.add_number(parser, "--seconds", 8.0, "of each turn")
    cli.add_names(parser, "--tables", {"cpu": 1, "loads": 2})
    text = parser.format_help()
    assert text.startswith("usage: python -m benchmarks.experiment ")
    assert "The first line." in text
    assert "Another" not in text
    assert "of each turn (default: 8)" in text
    assert "of cpu, loads (default: all)" in text


def test_numbers_are_whole_if_their_default_is(
    parser: argparse.ArgumentParser, usage_error: UsageError
) -> None:
    cli.add_number(parser, "--seconds", 8.0, "of each turn")
    cli.add_number(parser, "--rounds", 3, "of turns")
    assert vars(parser.parse_args([])) == {"seconds": 8.0, "rounds": 3}
    assert vars(parser.parse_args(["--seconds=0.5", "--rounds=7"])) == {"seconds": 0.5, "rounds": 7}
    assert "--rounds" in usage_error(parser.parse_args, "--rounds=0.5")


def test_names_come_in_their_own_order_and_once(parser: argparse.ArgumentParser) -> None:
    cli.add_names(parser, "--tables", ("cpu", "metrics", "loads"))
    assert parser.parse_args([]).tables == ("cpu", "metrics", "loads")
    assert parser.parse_args(["--tables=loads,cpu,loads"]).tables == ("cpu", "loads")


@pytest.mark.parametrize("text", ["", "cpu,", "memory", "cpu,memory"])
def test_unknown_names_are_refused(
    parser: argparse.ArgumentParser, usage_error: UsageError, text: str
) -> None:
    cli.add_names(parser, "--tables", ("cpu", "loads"))
    assert f"{text!r}: the tables are cpu, loads" in usage_error(parser.parse_args, f"--tables={text}")


def test_the_folder_of_results_must_exist(
    parser: argparse.ArgumentParser, usage_error: UsageError, tmp_path: Path
) -> None:
    cli.add_out(parser, "gets the results")
    assert parser.parse_args([]).out == cli.FOLDER
    assert parser.parse_args([f"--out={tmp_path}"]).out == tmp_path
    assert "is not a folder that exists" in usage_error(parser.parse_args, f"--out={tmp_path / 'none'}")


@pytest.mark.parametrize("number", [0, -1, float("nan"), float("inf")])
def test_numbers_that_are_not_positive(number: float) -> None:
    assert not cli.is_positive(number)
    assert cli.is_positive(0.1)
