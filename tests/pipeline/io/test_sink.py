import grpc
import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1

from pipeline.io import sink
from pipeline.io.sink import LARGE_BYTES, MAX_CALL_BYTES, Publisher, _calls, _Publish
from pipeline.pubsub.limits import MAX_PUBLISH_MESSAGES
from pipeline.request.errors import TransientError
from pipeline.request.wire_format import WireMessage
from tests.pipeline.conftest import Pubsub


def messages(*sizes: int) -> list[WireMessage]:
    return [WireMessage(b"x" * size, {"n": str(n)}) for n, size in enumerate(sizes)]


class TestCalls:
    def test_one_for_a_bundle(self) -> None:
        (call,) = _calls("projects/p/topics/t", messages(1, 2, 3))
        assert [len(m.data) for m in call.messages] == [1, 2, 3]
        assert call.topic == "projects/p/topics/t"

    def test_split_by_count_in_order(self) -> None:
        calls = list(_calls("t", messages(*[1] * (2 * MAX_PUBLISH_MESSAGES + 1))))
        assert [len(call.messages) for call in calls] == [MAX_PUBLISH_MESSAGES, MAX_PUBLISH_MESSAGES, 1]
        numbers = [int(m.attributes["n"]) for call in calls for m in call.messages]
        assert numbers == list(range(2 * MAX_PUBLISH_MESSAGES + 1))

    def test_split_by_bytes(self) -> None:
        calls = list(_calls("t", messages(4_000_000, 4_000_000, 4_000_000, 9_997_000, 5)))
        assert [len(call.messages) for call in calls] == [2, 1, 1, 1]
        assert all(len(c.messages) == 1 or c.ByteSize() <= MAX_CALL_BYTES + 100 for c in calls)

    def test_none_for_nothing(self) -> None:
        assert list(_calls("t", [])) == []


def test_after_a_large_bundle_the_heap_is_given_back(pubsub: Pubsub, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[int] = []
    publish = _Publish(pubsub.topics.output_topic, 5)
    monkeypatch.setattr(sink, "give_back_freed_memory", lambda: given_back.append(1))
    for size, expected in ((LARGE_BYTES, 0), (LARGE_BYTES + 1, 1)):
        publish.start_bundle()
        publish.process(messages(size))
        publish.finish_bundle()
        assert len(given_back) == expected


class TestPublisher:
    def published(self, pubsub: Pubsub) -> list[bytes]:
        with pubsub_v1.SubscriberClient() as client:
            response = client.pull(subscription=pubsub.topics.output_subscription, max_messages=100)
        return [received.message.data for received in response.received_messages]

    def test_in_order(self, pubsub: Pubsub) -> None:
        Publisher().publish(pubsub.topics.output_topic, messages(3, 1, 2), 5)
        assert self.published(pubsub) == [b"xxx", b"x", b"xx"]

    def test_transient_errors_are_retried(self, pubsub: Pubsub) -> None:
        pubsub.broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=3)
        Publisher().publish(pubsub.topics.output_topic, messages(1), 30)
        assert self.published(pubsub) == [b"x"]

    def test_past_the_deadline(self, pubsub: Pubsub) -> None:
        pubsub.broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=100_000)
        with pytest.raises(TransientError, match=r"publishing to .*results-test failed for 0.3 s: 503"):
            Publisher().publish(pubsub.topics.output_topic, messages(1), 0.3)

    def test_a_missing_topic_is_not_retried(self, pubsub: Pubsub) -> None:
        with pytest.raises(exceptions.NotFound, match="cannot publish to .*-gone: .*create it"):
            Publisher().publish(pubsub.topics.output_topic + "-gone", messages(1), 60)
