"""The state of one subscription, with a clock that the test moves."""

from collections import Counter
from typing import Any

import pytest

from broker.errors import InvalidArgumentError
from broker.leases import TICK_S, Consumer, Lease, LeaseTable, Message
from broker.settings import subscription_settings
from broker.subscription import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, Subscription
from pipeline.pubsub import protos
from tests.broker.conftest import FakeClock


def make_subscription(clock: FakeClock, duplicates: int = 0, **settings: Any) -> Subscription:
    pending = [True] * duplicates
    request = protos.Subscription(
        name="projects/abcdef/subscriptions/sub", topic="projects/abcdef/topics/topic", **settings
    )
    return Subscription(
        subscription_settings(request), clock, duplicate_next=lambda: bool(pending and pending.pop())
    )


def messages(count: int, size: int = 10) -> list[Message]:
    return [Message(str(number), bytes(size), FakeClock().now) for number in range(count)]


def consumer(max_messages: int = 0, max_bytes: int = 0) -> Consumer:
    return Consumer(lambda: None, ack_deadline_s=10, max_messages=max_messages, max_bytes=max_bytes)


def ids(leases: list[Lease]) -> list[str]:
    return [lease.message.message_id for lease in leases]


def test_each_message_is_taken_once_in_order(clock: FakeClock) -> None:
    subscription = make_subscription(clock)
    subscription.enqueue(messages(3))
    leases = subscription.take(consumer())
    assert ids(leases) == ["0", "1", "2"]
    assert len({lease.ack_id for lease in leases}) == 3
    assert subscription.take(consumer()) == []


def test_a_message_comes_again_after_its_deadline_and_not_before(clock: FakeClock) -> None:
    subscription = make_subscription(clock)
    subscription.enqueue(messages(1))
    (first,) = subscription.take(consumer())
    clock.advance(9.9)
    subscription.expire_leases()
    assert subscription.take(consumer()) == []
    clock.advance(0.1 + TICK_S)
    subscription.expire_leases()
    (second,) = subscription.take(consumer())
    assert second.message is first.message
    assert second.ack_id != first.ack_id


def test_an_acknowledged_message_never_comes_again(clock: FakeClock) -> None:
    subscription = make_subscription(clock)
    subscription.enqueue(messages(2))
    first, _ = subscription.take(consumer())
    subscription.acknowledge([first.ack_id])
    clock.advance(60)
    subscription.expire_leases()
    assert ids(subscription.take(consumer())) == ["1"]
    assert subscription.stats().acknowledged == 1


def test_a_late_acknowledgement_of_an_ended_lease_is_ignored(clock: FakeClock) -> None:
    subscription = make_subscription(clock)
    subscription.enqueue(messages(1))
    (first,) = subscription.take(consumer())
    clock.advance(11)
    subscription.expire_leases()
    (second,) = subscription.take(consumer())
    subscription.acknowledge([first.ack_id])
    assert subscription.stats().outstanding == 1
    subscription.acknowledge([second.ack_id, second.ack_id])
    assert subscription.stats().outstanding == 0
    assert subscription.stats().acknowledged == 1


def test_a_foreign_ack_id_is_refused(clock: FakeClock) -> None:
    subscription = make_subscription(clock)
    with pytest.raises(InvalidArgumentError, match="'nonsense' is not an ack id"):
        subscription.acknowledge(["nonsense"])
    with pytest.raises(InvalidArgumentError, match="'nonsense' is not an ack id"):
        subscription.modify_deadline(["nonsense"], 0)


def test_a_deadline_can_be_moved_later_and_earlier(clock: FakeClock) -> None:
    subscription = make_subscription(clock)
    subscription.enqueue(messages(2))
    later, earlier = subscription.take(consumer())
    subscription.modify_deadline([later.ack_id], 60)
    subscription.modify_deadline([earlier.ack_id], 2)
    clock.advance(2 + TICK_S)
    subscription.expire_leases()
    assert ids(subscription.take(consumer())) == ["1"]
    clock.advance(50)
    subscription.modify_deadline([later.ack_id], 60)
    clock.advance(50)
    subscription.expire_leases()
    assert subscription.stats().outstanding == 1
    assert ids(subscription.take(consumer())) == ["1"]


def test_a_message_given_back_comes_after_those_that_wait(clock: FakeClock) -> None:
    subscription = make_subscription(clock)
    subscription.enqueue(messages(3))
    (first,) = subscription.take(consumer(max_messages=1))
    subscription.modify_deadline([first.ack_id], 0)
    assert ids(subscription.take(consumer())) == ["1", "2", "0"]


def test_unsent_messages_go_back_to_the_front_in_order(clock: FakeClock) -> None:
    subscription = make_subscription(clock)
    subscription.enqueue(messages(4))
    holder = consumer(max_messages=2)
    leases = subscription.take(holder)
    subscription.give_back(leases)
    assert holder.outstanding_messages == holder.outstanding_bytes == 0
    assert ids(subscription.take(consumer())) == ["0", "1", "2", "3"]


def test_flow_control_by_count_reopens_on_ack_nack_and_expiry(clock: FakeClock) -> None:
    subscription = make_subscription(clock)
    subscription.enqueue(messages(10))
    holder = consumer(max_messages=3)
    first, second, _ = subscription.take(holder)
    assert subscription.take(holder) == []
    subscription.acknowledge([first.ack_id])
    assert len(subscription.take(holder)) == 1
    subscription.modify_deadline([second.ack_id], 0)
    assert len(subscription.take(holder)) == 1
    clock.advance(11)
    subscription.expire_leases()
    assert len(subscription.take(holder)) == 3


def test_flow_control_by_bytes_lets_one_large_message_through(clock: FakeClock) -> None:
    subscription = make_subscription(clock)
    subscription.enqueue(messages(5, size=40))
    holder = consumer(max_bytes=100)
    assert len(subscription.take(holder)) == 2
    subscription.enqueue(messages(1, size=1000))
    other = consumer(max_bytes=100)
    assert len(subscription.take(other)) == 2
    last = consumer(max_bytes=30)
    assert len(subscription.take(last)) == 1


def test_a_batch_is_bounded(clock: FakeClock) -> None:
    subscription = make_subscription(clock)
    subscription.enqueue(messages(MAX_BATCH_MESSAGES + 5))
    assert len(subscription.take(consumer())) == MAX_BATCH_MESSAGES
    assert len(subscription.take(consumer())) == 5
    subscription.enqueue(messages(3, size=MAX_BATCH_BYTES // 2))
    assert [len(subscription.take(consumer())) for _ in range(2)] == [2, 1]


def test_a_duplicate_has_its_own_ack_id_and_respects_flow_control(clock: FakeClock) -> None:
    subscription = make_subscription(clock, duplicates=1)
    subscription.enqueue(messages(2))
    (first,) = subscription.take(consumer(max_messages=1))
    assert subscription.stats().backlog == 2
    again, other = subscription.take(consumer())
    assert (first.message, other.message.message_id) == (again.message, "1")
    assert first.ack_id != again.ack_id
    subscription.acknowledge([first.ack_id])
    assert subscription.stats().outstanding == 2


def test_consumers_take_turns_in_waking_first(clock: FakeClock) -> None:
    subscription = make_subscription(clock)
    woken: list[str] = []
    for name in ("a", "b"):
        subscription.attach(Consumer(lambda name=name: woken.append(name), ack_deadline_s=10))  # type: ignore[misc]
    for _ in range(4):
        subscription.enqueue(messages(1))
    assert Counter(woken[::2]) == {"a": 2, "b": 2}


def test_each_use_puts_its_expiration_off(clock: FakeClock) -> None:
    day_s = 24 * 60 * 60
    subscription = make_subscription(clock, expiration_policy={"ttl": {"seconds": day_s}})
    holder = consumer()
    for use in (
        lambda: subscription.take(holder),
        lambda: subscription.acknowledge(["1:1"]),
        lambda: subscription.modify_deadline(["1:1"], 10),
        lambda: subscription.seek(0, []),
    ):
        clock.advance(day_s)
        assert not subscription.has_expired()
        use()
    subscription.attach(holder)
    clock.advance(2 * day_s)
    assert not subscription.has_expired()
    subscription.detach(holder)
    clock.advance(day_s)
    assert not subscription.has_expired()
    clock.advance(1)
    assert subscription.has_expired()


def test_the_lease_table_keeps_live_leases_only(clock: FakeClock) -> None:
    table = LeaseTable()
    holder = consumer()
    for number in range(1000):
        lease = Lease(f"0:{number}", Message(str(number), b"x", clock()), holder)
        table.grant(lease, clock() + 10)
        table.extend(lease.ack_id, clock() + 60)
        table.end(lease.ack_id)
    assert len(table) == 0
    assert holder.outstanding_messages == 0
    assert not table.extend("0:1", clock() + 10)
    assert table.end_expired(clock() + 1000) == []
