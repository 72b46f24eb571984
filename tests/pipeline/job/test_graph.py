from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.worker.bundle_processor import DATA_OUTPUT_URN

from benchmarks.harness.staging import Staged, staged
from pipeline.engine.fusion import UnfusedGraphError, check, fused_stages
from pipeline.engine.runner import StreamingRunner
from pipeline.io import connectors
from pipeline.io.native import ReadSerialized, WriteSerialized
from pipeline.io.sink import WriteToTopic
from pipeline.io.source import ReadFromSubscription
from pipeline.job import graph
from pipeline.request.errors import HookError
from tests.pipeline.job.test_command_line import ENDPOINT, line

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
            "Decode",
            "Infer/BeamML_RunInference",
            "Encode/ParDo(Encode)",
            "Write results/Publish",
            "Write dead letters/Publish",
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
        monkeypatch.setattr(connectors, "write", lambda *_: beam.Reshuffle())
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
    assert (kinds.count(ReadSerialized), kinds.count(WriteSerialized)) == (1, 2)
    assert not {ReadFromSubscription, WriteToTopic} & set(kinds)


HOOKS = {
    "decode_hook": "examples.text.hooks:decode",
    "encode_hook": "examples.text.hooks:encode",
    "input_shape": "ids:int64:16,mask:int64:16",
}


class TestHooks:
    @pytest.mark.parametrize("flag", ["decode_hook", "encode_hook"])
    def test_a_wrong_one_ends_the_build(self, flag: str) -> None:
        with pytest.raises(HookError, match=rf"--{flag}=examples.text.hooks:nothing: the module"):
            built(**{**HOOKS, flag: "examples.text.hooks:nothing"})

    def test_workers_of_dataflow_get_them_by_name(self, tmp_path: Path) -> None:
        without = staged(tmp_path / "without", line(**ENDPOINT))
        with_ = staged(tmp_path / "with", line(**ENDPOINT, **HOOKS))
        for step, name in (("Decode", "decode"), ("Encode", "encode")):
            assert _do_fn(without, step)._hook is None
            hook = _do_fn(with_, step)._hook
            assert str(hook) == f"--{name}_hook=examples.text.hooks:{name}"
            assert hook.function.__module__ == "examples.text.hooks"


def _do_fn(job: Staged, step: str) -> beam.DoFn:
    """Return a step's DoFn, as a worker unpickles it."""
    (transform,) = (
        t
        for t in job.proto.components.transforms.values()
        if t.unique_name == {"Decode": "Decode", "Encode": "Encode/ParDo(Encode)"}[step]
    )
    payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
    return pickler.loads(payload.do_fn.payload)[0]
