from __future__ import annotations

import pytest

from pipeline.pubsub.emulator import VARIABLE, emulator_problems


@pytest.mark.parametrize(
    "given",
    [
        "localhost:8085",
        "http://localhost:8085",
        "http://localhost:8085/",
        "localhost:8085/",
        " localhost:8085\n",
    ],
)
def test_what_is_meant_is_understood(given: str) -> None:
    environment = {VARIABLE: given}
    assert emulator_problems(environment) == []
    assert environment == {VARIABLE: "localhost:8085"}


@pytest.mark.parametrize("given", ["[::1]:8085", "127.0.0.1:1", "my-broker.internal:65535"])
def test_plain_addresses_stay(given: str) -> None:
    environment = {VARIABLE: given}
    assert emulator_problems(environment) == []
    assert environment == {VARIABLE: given}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("https://localhost:8085", "speaks without TLS"),
        ("localhost", "needs a host and a port"),
        (":8085", "no such port or host"),
        ("localhost:0", "no such port or host"),
        ("localhost:99999", "no such port or host"),
        ("http://localhost:8085/v1", "nothing after them"),
        ("user@localhost:8085", "no such port or host"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(given: str, reason: str) -> None:
    environment = {VARIABLE: given}
    (problem,) = emulator_problems(environment)
    assert problem.startswith(f"{VARIABLE}={given}: ")
    assert reason in problem
    assert environment == {VARIABLE: given}


def test_without_it_nothing_is_wrong() -> None:
    assert emulator_problems({}) == emulator_problems({VARIABLE: ""}) == []
