"""The filter language. Google's emulator (0.8.20) takes any filter and delivers everything, so none here."""

from __future__ import annotations

import grpc
import pytest

from broker import EmbeddedBroker
from broker.errors import InvalidArgumentError
from broker.filters import parse_filter
from tests.broker.both import Service, data, new_subscription

ATTRIBUTES = {"domain": "com", "iana.org/language_tag": "en", "region": "us-east1", "empty": "", "AND": "x"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("attributes:domain", True),
        ("attributes:missing", False),
        ("attributes:empty", True),
        ("attributes:Domain", False),
        ('attributes:"iana.org/language_tag"', True),
        ('attributes.domain = "com"', True),
        ('attributes.domain = "Com"', False),
        ('attributes.domain="com"', True),
        ('attributes . domain\n=\t"com"', True),
        ('attributes.domain != "com"', False),
        ('attributes.domain != "org"', True),
        ('attributes.missing != "com"', True),
        ('attributes.missing = ""', False),
        ('attributes."iana.org/language_tag" = "en"', True),
        ('attributes.AND = "x"', True),
        ('hasPrefix(attributes.region, "us-")', True),
        ('hasPrefix(attributes.region, "eu-")', False),
        ('hasPrefix(attributes.missing, "")', False),
        ('hasPrefix(attributes."iana.org/language_tag","e")', True),
        ("NOT attributes:missing", True),
        ("NOT NOT attributes:missing", False),
        ("NOT attributes:missing AND attributes:missing", False),
        ("NOT (attributes:missing AND attributes:missing)", True),
        ("attributes:domain AND attributes:region AND attributes:missing", False),
        ("attributes:missing OR attributes:gone OR attributes:domain", True),
        ("attributes:missing AND (attributes:domain OR attributes:region)", False),
        ("(attributes:missing AND attributes:domain) OR attributes:region", True),
        ("((attributes:domain))", True),
        (r'attributes.domain = "\143\x6f\u006D"', True),
        (r'attributes.domain = "\U00000063om"', True),
    ],
)
def test_what_a_filter_matches(text: str, matches: bool) -> None:
    assert parse_filter(text)(ATTRIBUTES) is matches


def test_escapes() -> None:
    assert parse_filter(r'attributes.a = "\"\\\n\t"')({"a": '"\\\n\t'})


@pytest.mark.parametrize(
    ("text", "character", "reason"),
    [
        ("  ", 3, "the filter ends; expected attributes"),
        ("attributes", 11, "the filter ends; expected : or ."),
        ("attributes.a", 13, "the filter ends; expected = or !="),
        ("attributes.a = x", 16, "there is 'x'; expected a string in double quotes"),
        ("attributes.a = 'x'", 16, 'there is "\'"'),
        ('attributes.a = "x', 16, "a closing double quote"),
        ('attributes.a == "x"', 15, "there is '='"),
        ('attributes.a < "x"', 14, "there is '<'"),
        (r'attributes.a = "b\q"', 18, r"there is '\\q'; expected an escape"),
        (r'attributes.a = "\UFFFFFFFF"', 17, "expected an escape"),
        ('labels.a = "x"', 1, "there is 'labels'; expected attributes, hasPrefix, NOT or ("),
        ("not attributes:a", 1, "there is 'not'"),
        ("-attributes:a", 1, "there is '-'"),
        ("attributes:a attributes:b", 14, "expected AND, OR or the end of the filter"),
        ("attributes:a AND attributes:b OR attributes:c", 31, "AND beside OR needs parentheses"),
        ("attributes:a OR attributes:b AND attributes:c", 30, "AND beside OR needs parentheses"),
        ("attributes:a AND", 17, "the filter ends"),
        ("(attributes:a", 14, "the filter ends; expected )"),
        ("attributes:a)", 13, "there is ')'"),
        ('hasPrefix(labels.a, "x")', 11, "expected attributes"),
        ('hasPrefix(attributes:a, "x")', 21, "expected ."),
        ("hasPrefix(attributes.a)", 23, "expected ,"),
        ("attributes:ä", 12, "there is 'ä'"),
    ],
)
def test_what_breaks_the_grammar_is_refused_with_its_place(text: str, character: int, reason: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_filter(text)
    assert f"character {character}: " in str(caught.value)
    assert reason in str(caught.value)


def test_a_filter_holds_256_bytes() -> None:
    longest = 'attributes.a = "' + "ä" * 119 + 'b"'
    assert len(longest.encode()) == 256
    parse_filter(longest)
    with pytest.raises(InvalidArgumentError, match="257 bytes; at most 256"):
        parse_filter(longest + " ")


def test_a_subscription_gets_what_its_filter_matches(embedded: Service, broker: EmbeddedBroker) -> None:
    topic = embedded.create_topic()
    filtered = embedded.create_subscription(topic, filter='attributes.kind = "order"')
    everything = embedded.create_subscription(topic)
    embedded.publish(topic, b"one", b"two", attributes={"kind": "order"})
    embedded.publish(topic, b"three", attributes={"kind": "refund"})
    embedded.publish(topic, b"four")
    assert broker.stats(filtered).backlog == 2
    assert data(embedded.pull(filtered)) == [b"one", b"two"]
    assert len(embedded.pull(everything)) == 4


def test_a_wrong_filter_makes_no_subscription(embedded: Service) -> None:
    request = new_subscription(embedded.create_topic(), filter="attributes.a = b")
    code, details = embedded.refusal("Subscriber/CreateSubscription", request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "character 16" in details
