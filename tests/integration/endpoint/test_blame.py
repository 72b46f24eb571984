"""Which requests an endpoint's refusal blames: the one that is bad, or none."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from google.pubsub_v1.services.publisher import PublisherClient

from broker import EmbeddedBroker
from loadtest.summary import Summary
from local.topics import Topics
from pipeline.pubsub.channels import publisher_client
from tests.integration.conftest import RECORDS, Mailbox
from tests.integration.endpoint.conftest import (
    Start,
    assert_given_back,
    assert_own_answers,
    bodies,
    lines_with,
)
from tests.integration.faulty_endpoint import Answer, FaultyEndpoint, Refusal
from tests.integration.test_faults import ids, send

Drive = Callable[..., Summary]

pytestmark = pytest.mark.parametrize("pubsub", ["embedded"], indirect=True)


def test_one_bad_instance(
    start_job: Start, front: FaultyEndpoint, topics: Topics, predictions: dict[int, float]
) -> None:
    """What the job could decode and the endpoint refuses is a dead letter; nothing else is."""
    records = [json.loads(line) for line in RECORDS.read_bytes().splitlines()[:40]]
    records[17]["features"][0] = 12345.0
    messages = [
        {"data": json.dumps(record).encode(), "attributes": {"request_id": f"r-{n}"}}
        for n, record in enumerate(records)
    ]
    PublisherClient.publish(publisher_client(), request={"topic": topics.input_topic, "messages": messages})
    reason = "instance out of range"
    front.misbehave(Refusal(400, reason), when=lambda call: bool((call.rows[:, 0] == 12345).any()))
    job = start_job()

    [letter] = Mailbox(topics.dead_letter_subscription).collect(1)
    assert letter.data == messages[17]["data"]
    assert letter.attributes["request_id"] == "r-17"
    assert letter.attributes["error_stage"] == "inference"
    assert reason in letter.attributes["error_message"]
    results = Mailbox(topics.output_subscription).collect(39)
    assert ids(results) == {f"r-{n}" for n in range(40)} - {"r-17"}
    assert_own_answers(bodies(results), predictions)
    assert len(front.faulted[0].rows) > 1
    assert job.stop() == 0


def google_error(status: str, message: str) -> bytes:
    return json.dumps({"error": {"code": 400, "message": message, "status": status}}).encode()


PREDICTION_FAILED = Answer.of(
    google_error("FAILED_PRECONDITION", '"Prediction failed: Exception during sklearn prediction: no"\n'), 400
)
# Others are in tests/pipeline/inference/endpoint/test_blame.py.
BLAMES_AN_INSTANCE = {
    "prebuilt container": PREDICTION_FAILED,
    "TorchServe": Answer.of(
        b'{"code": 503, "type": "InternalServerException", "message": "Prediction failed"}', 503
    ),
    "not known": Answer.of(b"short and stout", 418),
}


@pytest.mark.parametrize("answer", BLAMES_AN_INSTANCE.values(), ids=BLAMES_AN_INSTANCE)
def test_one_bad_request_of_six_as_other_servers_refuse_it(
    answer: Answer, start_job: Start, front: FaultyEndpoint, topics: Topics, predictions: dict[int, float]
) -> None:
    records = [json.loads(line) for line in RECORDS.read_bytes().splitlines()[:6]]
    records[3]["features"][0] = 12345.0
    messages = [
        {"data": json.dumps(record).encode(), "attributes": {"request_id": f"r-{n}"}}
        for n, record in enumerate(records)
    ]
    PublisherClient.publish(publisher_client(), request={"topic": topics.input_topic, "messages": messages})
    front.misbehave(answer, when=lambda call: bool((call.rows[:, 0] == 12345).any()))
    job = start_job()
    [letter] = Mailbox(topics.dead_letter_subscription).collect(1)
    assert letter.attributes["request_id"] == "r-3"
    results = Mailbox(topics.output_subscription).collect(5)
    assert ids(results) == {"r-0", "r-1", "r-2", "r-4", "r-5"}
    assert_own_answers(bodies(results), predictions)
    assert job.stop() == 0, job.log


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(
            PREDICTION_FAILED, "It has served nothing so far, so no request is blamed", id="all fail"
        ),
        pytest.param(
            Answer.of(google_error("FAILED_PRECONDITION", 'misconfigured, "traffic_split" not set.'), 400),
            "Deploy a model to the endpoint",
            id="no model",
        ),
    ],
)
def test_an_endpoint_that_has_never_served(
    answer: Answer,
    words: str,
    embedded: EmbeddedBroker,
    topics: Topics,
    start_job: Start,
    front: FaultyEndpoint,
) -> None:
    send(topics, 6)
    front.misbehave(answer)
    job = start_job()
    assert job.wait() == 1, job.log
    assert_given_back(embedded, topics, 6)
    [line] = lines_with(" ERROR ", job.log)
    assert words in line


@pytest.mark.parametrize("status", [403, 404])
def test_an_endpoint_that_will_never_serve(
    status: int, embedded: EmbeddedBroker, topics: Topics, start_job: Start, front: FaultyEndpoint
) -> None:
    """No request is to blame, and starting again would not mend it."""
    send(topics, 100)
    front.misbehave(Refusal(status, "no such luck"))
    job = start_job()
    assert job.wait() == 1, job.log
    assert_given_back(embedded, topics, 100)
    [line] = lines_with(" ERROR ", job.log)
    assert f"{front.url}/predict answered {status} no such luck" in line
