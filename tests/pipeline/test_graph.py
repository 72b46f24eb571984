import apache_beam as beam
import pytest
from apache_beam.io.gcp.pubsub import ReadFromPubSub, WriteToPubSub
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.runners.worker.bundle_processor import DATA_OUTPUT_URN

from pipeline import graph
from pipeline.fusion import UnfusedGraphError, check, fused_stages
from pipeline.io import pubsub
from pipeline.io.sink import WriteToTopic
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

    def test_build_refuses_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pubsub, "write", lambda *_: beam.Reshuffle())
        with pytest.raises(UnfusedGraphError, match="Write results"):
            built()

    def test_no_stream_is_refused(self) -> None:
        pipeline = beam.Pipeline(runner=StreamingRunner())
        pipeline | beam.Create([1])
        with pytest.raises(UnfusedGraphError, match="no stage reads a stream"):
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
    kinds: list[type] = []

    class Visitor(PipelineVisitor):
        def enter_composite_transform(self, node: AppliedPTransform) -> None:
            kinds.append(type(node.transform))

    pipeline.visit(Visitor())
    assert (kinds.count(ReadFromPubSub), kinds.count(WriteToPubSub)) == (1, 3)
    assert not {ReadFromSubscription, WriteToTopic} & set(kinds)
