import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.portability.common_urns import composites
from apache_beam.runners.worker.bundle_processor import DATA_OUTPUT_URN

from pipeline import graph
from pipeline.fusion import UnfusedGraphError, check, fused_stages
from pipeline.io.source import ReadFromSubscription
from pipeline.runner import StreamingRunner
from tests.pipeline.test_options import line

SUBSCRIPTION = "projects/my-project/subscriptions/requests"


def built(**flags: str) -> beam.Pipeline:
    options = PipelineOptions(line(**flags))
    pipeline = beam.Pipeline(runner=StreamingRunner(), options=options)
    graph.build(pipeline, options)
    return pipeline


class TestInProcess:
    def test_source_to_sinks_is_one_stage(self) -> None:
        first, second = fused_stages(built())
        assert set(first) >= {"Read/Impulse", "Read/Pull/SplitAndSizeRestriction"}
        assert set(second) >= {
            "Read/Pull/Process",
            "Decode/ParDo(Decode)",
            "Infer/BeamML_RunInference",
            "Encode/ParDo(Encode)",
            "Write results/Publish",
            "Write unanswered/Publish",
            "Write undecoded/Publish",
        }
        assert DATA_OUTPUT_URN not in second.values()

    @pytest.mark.parametrize(
        "breaking",
        [
            beam.Reshuffle(),
            beam.Map(lambda x: x).with_resource_hints(min_ram="1GB"),
        ],
        ids=["reshuffle", "hint"],
    )
    def test_what_breaks_the_stage_is_refused(self, breaking: beam.PTransform) -> None:
        pipeline = beam.Pipeline(runner=StreamingRunner())
        requests = pipeline | ReadFromSubscription(SUBSCRIPTION)
        requests | "Break" >> breaking | beam.Map(print)
        with pytest.raises(UnfusedGraphError, match="acknowledged before their results are published"):
            check(pipeline)

    def test_flatten_is_refused(self) -> None:
        pipeline = beam.Pipeline(runner=StreamingRunner())
        requests = pipeline | ReadFromSubscription(SUBSCRIPTION)
        results, letters = requests | "r" >> beam.Map(len), requests | "d" >> beam.Map(len)
        (results, letters) | beam.Flatten() | beam.Map(print)
        with pytest.raises(UnfusedGraphError):
            check(pipeline)


def test_dataflow_reads_and_writes_by_itself() -> None:
    options = PipelineOptions(line(runner="DataflowRunner"))
    options.view_as(StandardOptions).streaming = True
    pipeline = beam.Pipeline(runner=StreamingRunner(), options=options)
    graph.build(pipeline, options)
    urns = [t.spec.urn for t in pipeline.to_runner_api().components.transforms.values()]
    assert urns.count(composites.PUBSUB_READ.urn) == 1
    assert urns.count(composites.PUBSUB_WRITE.urn) == 3
