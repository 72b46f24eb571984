"""The REST face, by plain HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import os
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest

from broker import EmbeddedBroker
from tests.broker.both import PROJECT, Service
from tests.waiting import LIMIT_S, wait_until


class Rest:
    """Plain HTTP to a broker; answers are statuses and parsed JSON."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url).netloc

    def __call__(
        self, verb: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self._address, timeout=LIMIT_S)
        try:
            text = body if isinstance(body, str | None) else json.dumps(body)
            headers = {} if body is None else {"Content-Type": content_type}
            connection.request(verb, f"/v1/{path}", text, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


@pytest.fixture
def rest(service: Service) -> Rest:
    return Rest(service.rest_url)


@pytest.fixture
def embedded_rest(embedded: Service) -> Rest:
    return Rest(embedded.rest_url)


def names() -> tuple[str, str]:
    unique = os.urandom(6).hex()
    return f"{PROJECT}/topics/t-{unique}", f"{PROJECT}/subscriptions/s-{unique}"


def test_a_message_goes_all_the_way(rest: Rest) -> None:
    topic, subscription = names()
    assert rest("PUT", topic, {}) == (200, {"name": topic} | rest("GET", topic)[1])
    code, created = rest("PUT", subscription, {"topic": topic, "ackDeadlineSeconds": 20})
    assert (code, created["name"], created["topic"]) == (200, subscription, topic)
    assert rest("GET", subscription) == (200, created)
    assert created["messageRetentionDuration"] == "604800s"
    assert rest("GET", f"{topic}/subscriptions") == (200, {"subscriptions": [subscription]})

    text = base64.b64encode(b"hello").decode()
    message = {"data": text, "attributes": {"a": "b"}, "orderingKey": "k"}
    code, published = rest("POST", f"{topic}:publish", {"messages": [message]})
    assert (code, len(published["messageIds"])) == (200, 1)
    code, pulled = rest("POST", f"{subscription}:pull", {"maxMessages": 5})
    (received,) = pulled["receivedMessages"]
    assert {key: received["message"][key] for key in message} == message
    assert received["message"]["messageId"] == published["messageIds"][0]
    ack = {"ackIds": [received["ackId"]]}
    assert rest("POST", f"{subscription}:modifyAckDeadline", {**ack, "ackDeadlineSeconds": 60}) == (200, {})
    assert rest("POST", f"{subscription}:acknowledge", ack) == (200, {})
    assert rest("POST", f"{subscription}:pull", {"maxMessages": 5, "returnImmediately": True}) == (200, {})
    assert rest("POST", f"{subscription}:seek", {"time": "2020-01-01T00:00:00Z"}) == (200, {})

    change = {"subscription": {"ackDeadlineSeconds": 60}, "updateMask": "ackDeadlineSeconds"}
    code, changed = rest("PATCH", subscription, change)
    assert (code, changed["ackDeadlineSeconds"]) == (200, 60)
    change = {"topic": {"messageRetentionDuration": "700s"}, "updateMask": "messageRetentionDuration"}
    code, changed = rest("PATCH", topic, change)
    assert (code, changed["messageRetentionDuration"]) == (200, "700s")

    assert rest("DELETE", subscription) == (200, {})
    assert rest("DELETE", topic) == (200, {})
    code, refused = rest("GET", topic)
    assert (code, refused["error"]["code"], refused["error"]["status"]) == (404, 404, "NOT_FOUND")


def test_lists_come_in_pages(embedded_rest: Rest) -> None:
    """The emulator orders them by chance."""
    topics = [f"{PROJECT}/topics/topic-{number}" for number in range(3)]
    for topic in topics:
        embedded_rest("PUT", topic)
        embedded_rest("PUT", topic.replace("topic", "subscription"), {"topic": topics[0]})
    code, page = embedded_rest("GET", f"{PROJECT}/topics?pageSize=2&alt=json")
    assert (code, [topic["name"] for topic in page["topics"]]) == (200, topics[:2])
    _, page = embedded_rest("GET", f"{PROJECT}/topics?pageSize=2&pageToken={page['nextPageToken']}")
    assert [topic["name"] for topic in page["topics"]] == topics[2:]
    _, page = embedded_rest("GET", f"{PROJECT}/subscriptions")
    assert len(page["subscriptions"]) == 3


def test_errors_have_the_status_of_http(embedded_rest: Rest) -> None:
    topic, subscription = names()
    embedded_rest("PUT", topic, {})
    for verb, path, body, code, status, reason in (
        ("PUT", topic, {}, 409, "ALREADY_EXISTS", "already exists"),
        ("PUT", subscription, {}, 400, "INVALID_ARGUMENT", "is not a topic name"),
        ("PUT", subscription, {"topic": topic, "retryPolicy": {}}, 501, "UNIMPLEMENTED", "retry_policy"),
        ("PUT", subscription, {"topic": topic, "filter": "x"}, 400, "INVALID_ARGUMENT", "character 1"),
        ("PUT", subscription, {"nonsense": 1}, 400, "INVALID_ARGUMENT", 'no field named "nonsense"'),
        ("POST", f"{topic}:publish", "{", 400, "INVALID_ARGUMENT", "the body is not JSON"),
        ("POST", f"{topic}:publish", "[]", 400, "INVALID_ARGUMENT", "a JSON list: send an object"),
        ("POST", f"{topic}:publish", {"messages": [{"data": 5}]}, 400, "INVALID_ARGUMENT", "Publish"),
        ("PATCH", topic, {"topic": {}}, 400, "INVALID_ARGUMENT", "update_mask"),
        ("GET", f"{PROJECT}/topics?pageSize=x", None, 400, "INVALID_ARGUMENT", "ListTopics"),
        ("POST", f"{topic}:detach", {}, 404, "NOT_FOUND", "has nothing at POST"),
        ("PUT", f"{PROJECT}/snapshots/s", {}, 404, "NOT_FOUND", "has nothing at PUT"),
        ("GET", "", None, 404, "NOT_FOUND", "has nothing at GET"),
    ):
        found, answer = embedded_rest(verb, path, body)
        assert (found, answer["error"]["code"], answer["error"]["status"]) == (code, code, status)
        assert reason in answer["error"]["message"]


def test_a_form_of_a_web_page_does_nothing(embedded_rest: Rest, broker: EmbeddedBroker) -> None:
    topic, subscription = names()
    embedded_rest("PUT", topic)
    embedded_rest("PUT", subscription, {"topic": topic})
    body = '{"messages": [{"data": "aGk="}]}'
    for content_type in ("text/plain", "application/x-www-form-urlencoded"):
        code, answer = embedded_rest("POST", f"{topic}:publish", body, content_type)
        assert (code, "Content-Type: application/json" in answer["error"]["message"]) == (400, True)
    assert broker.stats(subscription).backlog == 0


def test_the_largest_publish_passes_and_a_larger_body_is_refused(embedded_rest: Rest) -> None:
    topic, _ = names()
    embedded_rest("PUT", topic)
    largest = base64.b64encode(bytes(9_990_000)).decode()
    assert embedded_rest("POST", f"{topic}:publish", {"messages": [{"data": largest}]})[0] == 200
    code, answer = embedded_rest("POST", f"{topic}:publish", {"messages": [{"data": largest * 3}]})
    assert (code, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_faults_strike_here_too(embedded_rest: Rest, broker: EmbeddedBroker) -> None:
    topic, _ = names()
    broker.faults.fail("CreateTopic", grpc.StatusCode.RESOURCE_EXHAUSTED, message="out of quota")
    code, answer = embedded_rest("PUT", topic)
    assert (code, answer["error"]["message"]) == (429, "out of quota")
    assert embedded_rest("PUT", topic)[0] == 200


def test_every_status_of_grpc_has_one_of_http(embedded_rest: Rest, broker: EmbeddedBroker) -> None:
    for status in grpc.StatusCode:
        if status is not grpc.StatusCode.OK:
            broker.faults.fail("ListTopics", status)
            code, answer = embedded_rest("GET", f"{PROJECT}/topics")
            assert (400 <= code < 600, answer["error"]["status"]) == (True, status.name)


def test_a_client_that_has_gone_takes_nothing() -> None:
    # Without its end, the Pull would go on for longer than the test may take.
    with EmbeddedBroker(pull_wait_s=10 * LIMIT_S) as broker:
        rest = Rest(broker.rest_url)
        topic, subscription = names()
        rest("PUT", topic)
        rest("PUT", subscription, {"topic": topic})
        connection = http.client.HTTPConnection(urlsplit(broker.rest_url).netloc, timeout=LIMIT_S)
        connection.request(
            "POST", f"/v1/{subscription}:pull", '{"maxMessages": 1}', {"Content-Type": "application/json"}
        )
        wait_until(lambda: broker.stats(subscription).streams == 1)
        connection.close()
        wait_until(lambda: broker.stats(subscription).streams == 0)
        rest("POST", f"{topic}:publish", {"messages": [{"data": "aGk="}]})
        assert broker.stats(subscription).backlog == 1
