"""The job's options without Apache Beam, which parses them in a job."""

from __future__ import annotations

from pipeline.options.job_options import JobOptions

_TOPICS = {
    "input_subscription": "projects/my-project/subscriptions/requests",
    "output_topic": "projects/my-project/topics/results",
    "dead_letter_topic": "projects/my-project/topics/dead-letters",
}


def job_options(texts: dict[str, str]) -> JobOptions:
    """Return the options of a job with these flags, by name without dashes, and all others at their defaults.

    Raises:
        ValueError: A flag's text is wrong.
    """
    return JobOptions.from_texts({**_TOPICS, **texts})
