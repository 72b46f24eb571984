"""Ordering keys: order within a key, and what comes again when one does."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.leases import Consumer, Lease, Message
from broker.settings import subscription_settings
from broker.subscription import Subscription
from pipeline.pubsub import protos
from tests.broker.both import Service, data
from tests.broker.conftest import FakeClock


def ordered_subscription(clock: FakeClock, **fields: object) -> Subscription:
    request = protos.Subscription(
        name="projects/abcdef/subscriptions/sub",
        topic="projects/abcdef/topics/topic",
        enable_message_ordering=True,
        **fields,
    )
    return Subscription(subscription_settings(request), clock)


def messages(clock: FakeClock, *keys: str) -> list[Message]:
    return [Message(str(number), b"x", clock(), key) for number, key in enumerate(keys)]


def consumer(max_messages: int = 0) -> Consumer:
    return Consumer(lambda: None, ack_deadline_s=10, max_messages=max_messages)


def ids(leases: list[Lease]) -> str:
    return "".join(lease.message.message_id for lease in leases)


def test_messages_of_a_key_come_in_order(service: Service) -> None:
    topic = service.create_topic()
    subscription = service.create_subscription(topic, enable_message_ordering=True)
    sent = [b"%d" % number for number in range(10)]
    for payload in sent:
        service.publish(topic, payload, ordering_key="k")
    received: list[bytes] = []
    while batch := service.pull(subscription, max_messages=3):
        received += data(batch)
        assert {each.message.ordering_key for each in batch} == {"k"}
        service.acknowledge(subscription, batch)
    assert received == sent


def test_the_next_of_a_key_waits_for_those_before_it(service: Service) -> None:
    topic = service.create_topic()
    subscription = service.create_subscription(topic, enable_message_ordering=True)
    service.publish(topic, b"k1", ordering_key="k")
    service.publish(topic, b"k2", ordering_key="k")
    first = service.pull(subscription, max_messages=1)
    service.publish(topic, b"j1", ordering_key="j")
    service.publish(topic, b"none")
    others = service.pull(subscription)
    assert (data(first), sorted(data(others))) == ([b"k1"], [b"j1", b"none"])
    service.acknowledge(subscription, first)
    assert data(service.pull(subscription)) == [b"k2"]


def test_without_ordering_nothing_waits(service: Service) -> None:
    topic = service.create_topic()
    subscription = service.create_subscription(topic)
    service.publish(topic, b"1", b"2", ordering_key="k")
    first = service.pull(subscription, max_messages=1)
    assert data(first) + data(service.pull(subscription)) == [b"1", b"2"]


def test_what_follows_a_nacked_message_comes_again(embedded: Service) -> None:
    """Also what was acknowledged, as the service documents; the emulator delivers none of it in time."""
    topic = embedded.create_topic()
    subscription = embedded.create_subscription(topic, enable_message_ordering=True)
    embedded.publish(topic, b"1", b"2", b"3", ordering_key="k")
    one, two, three = embedded.pull(subscription)
    embedded.acknowledge(subscription, [one, three])
    embedded.nack(subscription, [two])
    again = embedded.pull(subscription)
    assert data(again) == [b"2", b"3"]
    embedded.acknowledge(subscription, again)
    assert embedded.pull(subscription) == []


def test_an_expired_lease_brings_back_what_follows(clock: FakeClock) -> None:
    subscription = ordered_subscription(clock)
    subscription.enqueue(messages(clock, "k", "k", "", "k"))
    leases = subscription.take(consumer())
    assert ids(leases) == "0123"
    subscription.modify_deadline([leases[1].ack_id, leases[3].ack_id], 60)
    clock.advance(11)
    subscription.expire_leases()
    assert subscription.stats().outstanding == 0
    assert ids(subscription.take(consumer())) == "0132"


def test_a_stream_goes_on_with_the_keys_that_it_holds(clock: FakeClock) -> None:
    subscription = ordered_subscription(clock)
    one, other = consumer(max_messages=1), consumer()
    subscription.enqueue(messages(clock, "k", "k", "k"))
    (first,) = subscription.take(one)
    assert subscription.take(other) == []
    assert subscription.stats().backlog == 2
    subscription.acknowledge([first.ack_id])
    assert ids(subscription.take(other)) == "12"


def test_a_stream_does_not_overtake_what_waits_for_it(clock: FakeClock) -> None:
    subscription = ordered_subscription(clock)
    holder, other = consumer(), consumer()
    first, second, third = messages(clock, "k", "k", "k")
    subscription.enqueue([first])
    (lease,) = subscription.take(holder)
    subscription.enqueue([second])
    assert subscription.take(other) == []
    subscription.enqueue([third])
    assert subscription.take(holder) == []
    subscription.acknowledge([lease.ack_id])
    assert ids(subscription.take(other)) == "12"


def test_what_was_never_sent_goes_back_in_order(clock: FakeClock) -> None:
    subscription = ordered_subscription(clock)
    subscription.enqueue(messages(clock, "k", "j", "k", ""))
    subscription.give_back(subscription.take(consumer(max_messages=3)))
    assert ids(subscription.take(consumer())) == "0123"


def test_a_dead_letter_lets_the_next_of_its_key_through(embedded: Service) -> None:
    topic, dead = embedded.create_topic(), embedded.create_topic()
    subscription = embedded.create_subscription(
        topic, enable_message_ordering=True, dead_letter_policy={"dead_letter_topic": dead}
    )
    dead_subscription = embedded.create_subscription(dead)
    embedded.publish(topic, b"poison", b"good", ordering_key="k")
    for _ in range(5):
        poison = embedded.pull(subscription, max_messages=1)
        assert data(poison) == [b"poison"]
        embedded.nack(subscription, poison)
    (forwarded,) = embedded.pull(dead_subscription)
    assert (forwarded.message.data, forwarded.message.ordering_key) == (b"poison", "k")
    assert data(embedded.pull(subscription)) == [b"good"]


def test_a_seek_keeps_the_order(clock: FakeClock) -> None:
    subscription = ordered_subscription(clock, retain_acked_messages=True)
    subscription.enqueue(messages(clock, "k", "k", "k", "k"))
    first, second = subscription.take(consumer(max_messages=2))
    assert subscription.take(consumer()) == []
    subscription.acknowledge([second.ack_id, first.ack_id])
    subscription.take(consumer(max_messages=1))
    subscription.seek(clock(), [])
    assert subscription.stats().outstanding == 0
    assert ids(subscription.take(consumer())) == "0123"


@given(
    st.lists(st.tuples(st.sampled_from(["take", "ack", "nack", "expire", "give_back"]), st.integers(0, 9)))
)
@settings(deadline=None)
def test_no_message_overtakes_another_of_its_key(steps: list[tuple[str, int]]) -> None:
    """Whatever consumers do: after message i of a key comes i + 1, or one that was delivered before."""
    clock = FakeClock()
    subscription = ordered_subscription(clock)
    subscription.enqueue(messages(clock, *(("a", "b", "", "a") * 5)))
    consumers = [consumer(max_messages=3) for _ in range(3)]
    delivered: dict[str, list[int]] = defaultdict(list)
    held: list[Lease] = []

    def note(leases: list[Lease]) -> None:
        for lease in leases:
            delivered[lease.message.ordering_key].append(int(lease.message.message_id))

    for step, number in steps:
        if step == "take":
            leases = subscription.take(consumers[number % 3])
            note(leases)
            held += leases
        elif step == "give_back":
            subscription.give_back(subscription.take(consumers[number % 3]))
        elif step == "expire":
            clock.advance(11)
            subscription.expire_leases()
        elif held:
            ack_id = held.pop(number % len(held)).ack_id
            if step == "ack":
                subscription.acknowledge([ack_id])
            else:
                subscription.modify_deadline([ack_id], 0)
    # Whatever is left comes to one that acknowledges it.
    clock.advance(11)
    subscription.expire_leases()
    last = consumer()
    while leases := subscription.take(last):
        note(leases)
        subscription.acknowledge([lease.ack_id for lease in leases])
    stats = subscription.stats()
    assert (stats.backlog, stats.outstanding) == (0, 0)

    published = {"a": [n for n in range(20) if n % 4 in (0, 3)], "b": [n for n in range(20) if n % 4 == 1]}
    for key, order in published.items():
        assert set(delivered[key]) == set(order)
        place = {message: index for index, message in enumerate(order)}
        reached = -1
        for message in delivered[key]:
            assert place[message] <= reached + 1
            reached = place[message]
