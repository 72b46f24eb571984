"""An embedded Pub/Sub for one machine: the real API, in memory, with faults that tests can inject.

    with EmbeddedBroker() as broker: …       in a test; `broker.testing` shows how
    python -m broker --port 8085             as a process

What it does not do (push, snapshots, schemas, retry policies, exactly-once delivery, …) it refuses with an
error that names the field. `docs/local-pubsub.md` has what it does.
"""

from broker.embedded import EmbeddedBroker
from broker.faults import Faults
from broker.subscription import SubscriptionStats

__all__ = ["EmbeddedBroker", "Faults", "SubscriptionStats"]
