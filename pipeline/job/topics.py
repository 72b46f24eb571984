"""What Pub/Sub knows to be wrong with the job's topics, asked before anything is read."""

from __future__ import annotations

import logging
from contextlib import closing

import grpc

from pipeline.options.job_options import JobOptions
from pipeline.pubsub import calls
from pipeline.pubsub.channels import publisher_channel, subscriber_channel
from pipeline.pubsub.codes import explain
from pipeline.pubsub.protos import GetSubscriptionRequest, GetTopicRequest

_LOGGER = logging.getLogger(__name__)

# The questions are asked at once, and not again: the job starts without answers, too.
ANSWER_WITHIN_S = 10.0


def problems(job: JobOptions) -> list[str]:
    """Return which topics do not exist, and which one feeds the input's subscription, a sentence each.

    What this account may not look up, or Pub/Sub does not answer in time, is logged as a warning.

    Raises:
        DefaultCredentialsError: There are no credentials, and no PUBSUB_EMULATOR_HOST.
    """
    topics = {"output_topic": job.output_topic, "dead_letter_topic": job.dead_letter_topic}
    found = []
    with closing(publisher_channel()) as publisher, closing(subscriber_channel()) as subscriber:
        asked = {
            flag: calls.get_topic(publisher).future(
                GetTopicRequest(topic=name),
                timeout=ANSWER_WITHIN_S,
                metadata=calls.routing("topic", name),
            )
            for flag, name in topics.items()
        }
        subscription = calls.get_subscription(subscriber).future(
            GetSubscriptionRequest(subscription=job.input_subscription),
            timeout=ANSWER_WITHIN_S,
            metadata=calls.routing("subscription", job.input_subscription),
        )
        for flag, answer in asked.items():
            if answer.code() is grpc.StatusCode.NOT_FOUND:
                found.append(f"--{flag}: there is no topic {topics[flag]}: create it, or check its name")
            elif answer.code() is not grpc.StatusCode.OK:
                _LOGGER.warning("--%s: whether it exists is not known (%s)", flag, explain(answer))
        if subscription.code() is grpc.StatusCode.OK:
            source = subscription.result().topic
            found += [
                f"--{flag}: {name} is the topic that --input_subscription reads: what is written there would "
                "come back as requests. Give another topic"
                for flag, name in topics.items()
                if name == source
            ]
        # A subscription that does not exist is an error of the source, which says so.
        elif subscription.code() is not grpc.StatusCode.NOT_FOUND:
            _LOGGER.warning(
                "--input_subscription: whether a topic of this job feeds it is not known (%s)",
                explain(subscription),
            )
    return found
