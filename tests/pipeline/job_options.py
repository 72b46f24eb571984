"""The typed flags of a job, from a command line as a user writes it."""

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.job.command_line import job_options
from pipeline.options.job_options import JobOptions


def local_job_options(*flags: str) -> JobOptions:
    """Return the options of a job with these flags and the topics that each job needs."""
    topics = (
        "--input_subscription=projects/my-project/subscriptions/requests",
        "--output_topic=projects/my-project/topics/results",
        "--dead_letter_topic=projects/my-project/topics/dead-letters",
    )
    return job_options(PipelineOptions([*topics, *flags]))
