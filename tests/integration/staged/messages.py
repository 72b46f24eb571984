"""Requests as the native read gives them, and what comes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks.harness.bundles import Bundle
from benchmarks.harness.fused_stage import encode
from pipeline.pubsub.protos import PubsubMessage
from tests.pipeline.job.test_command_line import GOOD

RESULTS, DEAD_LETTERS = GOOD["output_topic"], GOOD["dead_letter_topic"]
_PUBLISHED_S = 1_700_000_000


@dataclass(frozen=True)
class Outcome:
    """What was published of some bundles, with what was published twice.

    Attributes:
        results: (request_id, body) of each.
        dead_letters: (request_id, attributes) of each.
    """

    results: Sequence[tuple[str, dict[str, Any]]]
    dead_letters: Sequence[tuple[str, dict[str, str]]]

    @property
    def ids(self) -> list[str]:
        """Of results and dead letters, in order."""
        return sorted(request_id for request_id, _ in (*self.results, *self.dead_letters))

    @classmethod
    def of(cls, bundles: Iterable[Bundle]) -> Outcome:
        """Return what bundles have written to the topics."""
        published = [bundle.outputs() for bundle in bundles]
        results, dead_letters = (
            [PubsubMessage.FromString(each) for topics in published for each in topics.get(topic, ())]
            for topic in (RESULTS, DEAD_LETTERS)
        )
        return cls(
            [(each.attributes["request_id"], orjson.loads(each.data)) for each in results],
            [(each.attributes["request_id"], dict(each.attributes)) for each in dead_letters],
        )


def request(request_id: str, body: dict[str, Any] | bytes) -> bytes:
    """Return a serialized PubsubMessage with this body."""
    message = PubsubMessage(
        data=body if isinstance(body, bytes) else orjson.dumps(body),
        attributes={"request_id": request_id},
        message_id=f"message-{request_id}",
    )
    message.publish_time.seconds = _PUBLISHED_S
    serialized: bytes = message.SerializeToString()
    return serialized


def bundle(requests: Iterable[bytes]) -> Sequence[bytes]:
    """Return requests as a bundle's elements."""
    return encode(requests, _PUBLISHED_S)
