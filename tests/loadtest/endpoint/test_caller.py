"""One call: what it carries, and what its answer is taken for."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from loadtest.clock import epoch_clock
from loadtest.endpoint.caller import Answer, Caller, Target, new_loop
from pipeline.inference.endpoint.token import TokenSource
from pipeline.options.address import Address
from tests.loadtest.endpoint.conftest import bodies, call
from tests.loadtest.endpoint.server import KnownEndpoint
from tests.waiting import LIMIT_S


class Tokens:
    """As much of a TokenSource as a caller takes."""

    current, quota_project = "secret", "payer"

    def __init__(self) -> None:
        self.refusals: list[str] = []

    def refused(self, token: str) -> None:
        self.refusals.append(token)


def call_with(tokens: Tokens, url: str) -> Answer:
    async def run() -> Answer:
        target = Target(Address(url, needs_token=True), "predict", LIMIT_S)
        async with Caller(target, epoch_clock(), cast(TokenSource, tokens)) as caller:
            return await caller.call(bodies()[0])

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(run())


def test_the_jobs_token_and_quota_project_are_sent(endpoint: KnownEndpoint) -> None:
    assert call_with(Tokens(), endpoint.url).failure == ""
    head = endpoint.heads[0]
    assert head["Authorization"] == "Bearer secret"
    assert head["x-goog-user-project"] == "payer"
    assert head["Content-Type"] == "application/json"


def test_a_token_that_is_refused_is_renewed(endpoint: KnownEndpoint) -> None:
    endpoint.script = [401]
    tokens = Tokens()
    answer = call_with(tokens, endpoint.url)
    assert (answer.failure, answer.transient) == ("401", True)
    assert tokens.refusals == ["secret"]


def test_without_a_token_none_is_sent(endpoint: KnownEndpoint) -> None:
    call(endpoint.url, lambda caller: caller.call(bodies()[0]))
    assert "Authorization" not in endpoint.heads[0]


@pytest.mark.parametrize(("status", "transient"), [(429, True), (503, True), (400, False), (404, False)])
def test_a_refusal(endpoint: KnownEndpoint, status: int, transient: bool) -> None:
    endpoint.script = [status]
    answer = call(endpoint.url, lambda caller: caller.call(bodies()[0]))
    assert (answer.failure, answer.transient) == (str(status), transient)
    assert "scripted" in answer.reason
    assert answer.sent_at < answer.ended_at


def test_an_answer_that_is_not_json(endpoint: KnownEndpoint) -> None:
    endpoint.body = b"<html>"
    answer = call(endpoint.url, lambda caller: caller.call(bodies()[0]))
    assert (answer.failure, answer.transient) == ("bad answer", False)
    assert "not JSON" in answer.reason
