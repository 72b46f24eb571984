"""What is asked of Pub/Sub before anything is read."""

from __future__ import annotations

import logging

import grpc
import pytest

from pipeline.job import topics
from pipeline.options.job_options import JobOptions
from tests.pipeline.conftest import Pubsub
from tests.pipeline.job_options import local_job_options


def job(pubsub: Pubsub, **changes: str) -> JobOptions:
    names = {
        "input_subscription": pubsub.topics.input_subscription,
        "output_topic": pubsub.topics.output_topic,
        "dead_letter_topic": pubsub.topics.dead_letter_topic,
        **changes,
    }
    return local_job_options(*(f"--{name}={value}" for name, value in names.items()))


def test_nothing_is_wrong(pubsub: Pubsub, caplog: pytest.LogCaptureFixture) -> None:
    assert topics.problems(job(pubsub)) == []
    assert not caplog.records


@pytest.mark.parametrize("flag", ["output_topic", "dead_letter_topic"])
def test_a_topic_that_does_not_exist(pubsub: Pubsub, flag: str) -> None:
    name = f"{getattr(pubsub.topics, flag)}-gone"
    (problem,) = topics.problems(job(pubsub, **{flag: name}))
    assert problem == f"--{flag}: there is no topic {name}: create it, or check its name"


@pytest.mark.parametrize("flag", ["output_topic", "dead_letter_topic"])
def test_a_topic_that_feeds_the_input(pubsub: Pubsub, flag: str) -> None:
    name = pubsub.topics.input_topic
    (problem,) = topics.problems(job(pubsub, **{flag: name}))
    assert problem.startswith(f"--{flag}: {name} is the topic that --input_subscription reads")


def test_all_at_once(pubsub: Pubsub) -> None:
    wrong = {"output_topic": pubsub.topics.input_topic, "dead_letter_topic": "projects/p12345/topics/gone"}
    found = topics.problems(job(pubsub, **wrong))
    assert {problem.partition(":")[0] for problem in found} == {"--output_topic", "--dead_letter_topic"}


def test_a_missing_subscription_is_left_to_the_source(
    pubsub: Pubsub, caplog: pytest.LogCaptureFixture
) -> None:
    gone = f"{pubsub.topics.input_subscription}-gone"
    assert topics.problems(job(pubsub, input_subscription=gone)) == []
    assert not caplog.records


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE])
@pytest.mark.parametrize(
    ("call", "warnings"),
    [
        ("GetTopic", ["--output_topic: whether it exists", "--dead_letter_topic: whether it exists"]),
        ("GetSubscription", ["--input_subscription: whether a topic of this job feeds it"]),
    ],
)
def test_what_may_not_be_looked_up_is_a_warning(
    pubsub: Pubsub, caplog: pytest.LogCaptureFixture, code: grpc.StatusCode, call: str, warnings: list[str]
) -> None:
    pubsub.broker.faults.fail(call, code, times=2)
    with caplog.at_level(logging.WARNING):
        assert topics.problems(job(pubsub)) == []
    assert len(caplog.records) == len(warnings)
    for record, warning in zip(caplog.records, warnings, strict=True):
        assert record.getMessage().startswith(warning)
        assert code.name in record.getMessage()


def test_a_broker_that_is_silent_is_not_waited_for(
    pubsub: Pubsub, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "ANSWER_WITHIN_S", 0.1)
    pubsub.broker.faults.delay("GetTopic", 60, times=2)
    assert topics.problems(job(pubsub)) == []
    assert {"DEADLINE_EXCEEDED" in record.getMessage() for record in caplog.records} == {True}
