"""Pub/Sub's limits, as of https://cloud.google.com/pubsub/quotas#resource_limits.

Constants only. The wire format needs them, and the endpoint container imports that without gRPC.
"""

from __future__ import annotations

MAX_MESSAGE_BYTES = 10_000_000
MAX_ATTRIBUTES = 100
MAX_ATTRIBUTE_KEY_BYTES = 256
MAX_ATTRIBUTE_VALUE_BYTES = 1024
MAX_ORDERING_KEY_BYTES = 1024

# One Publish call: its messages, and the bytes of the whole request.
MAX_PUBLISH_MESSAGES = 1_000
MAX_PUBLISH_BYTES = 10_000_000

# One Acknowledge or ModifyAckDeadline call. Documented are 524,288 bytes, and no length of an ack id. Ids of
# more than 210 bytes have been seen, and calls of 2,500 were refused for good. At 1,000 an id may have 500
# bytes; Google's clients take no more either: https://github.com/googleapis/google-cloud-go/issues/20391
MAX_ACK_IDS = 1_000

# Seconds; 0 in ModifyAckDeadline gives a message back.
DEFAULT_ACK_DEADLINE_S = 10
MIN_ACK_DEADLINE_S = 10
MAX_ACK_DEADLINE_S = 600
