from __future__ import annotations

from pipeline.pubsub.attributes import attributes_of, set_attributes
from pipeline.pubsub.protos import PubsubMessage


def test_attributes_there_and_back() -> None:
    message = PubsubMessage(data=b"x", attributes={"a": "1", "b": "2"})
    set_attributes(message, {"b": "3", "ö": ""})
    again = PubsubMessage.FromString(message.SerializeToString())
    assert attributes_of(again) == {"a": "1", "b": "3", "ö": ""}
    assert type(attributes_of(again)) is dict


def test_of_none_there_is_an_empty_dict() -> None:
    assert attributes_of(PubsubMessage(data=b"x")) == {}
