"""The typed flags of a job, from a command line as a user writes it."""

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.job.command_line import settings
from pipeline.options.flags import Settings


def job_settings(*flags: str) -> Settings:
    """The settings of a job with these flags and the topics that each job needs."""
    topics = (
        "--input_subscription=projects/my-project/subscriptions/requests",
        "--output_topic=projects/my-project/topics/results",
        "--dead_letter_topic=projects/my-project/topics/dead-letters",
    )
    return settings(PipelineOptions([*topics, *flags]))
