"""What a Dataflow worker's SDK process runs of a job: all that stands between the native read and writes.

Beam's own fusion makes the stage. The read and the writes are steps of the runner, as they are of the
service: so elements come in and go out on the Fn API's data channel, where the service would read and write
Pub/Sub.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from apache_beam.coders import BytesCoder, WindowedValueCoder
from apache_beam.coders.coder_impl import create_InputStream, create_OutputStream
from apache_beam.coders.coders import GlobalWindowCoder
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_fn_api_pb2, beam_runner_api_pb2, endpoints_pb2
from apache_beam.runners.portability.fn_api_runner import translations
from apache_beam.runners.worker.bundle_processor import DATA_INPUT_URN, DATA_OUTPUT_URN
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

_READ = common_urns.composites.PUBSUB_READ.urn
_WRITE = common_urns.composites.PUBSUB_WRITE.urn
_RUNNER_URNS = frozenset(
    {_READ, _WRITE, common_urns.primitives.FLATTEN.urn, common_urns.primitives.GROUP_BY_KEY.urn}
)
# Those of FnApiRunner.create_stages, without those that replace a source, which here stays the runner's.
_PHASES = (
    translations.annotate_downstream_side_inputs,
    translations.fix_side_input_pcoll_coders,
    translations.pack_combiners,
    translations.lift_combiners,
    translations.expand_sdf,
    translations.expand_gbk,
    translations.sink_flattens,
    translations.greedily_fuse,
    translations.sort_stages,
    translations.populate_data_channel_coders,
)
# What is sent in one piece at most, about as much as Beam's own data channel buffers.
_PIECE_BYTES = 1 << 20

_CODER = WindowedValueCoder(BytesCoder(), GlobalWindowCoder()).get_impl()


class NoSuchStageError(Exception):
    """A graph is not one read of Pub/Sub, one fused stage, and writes to Pub/Sub."""


@dataclass(frozen=True)
class FusedStage:
    """One fused stage.

    Attributes:
        descriptor: With the transforms and coders, but no address of a data channel.
        input_id: The transform that takes the place of the native read.
        topics: Full topic names, by the transforms that take the places of the native writes.
    """

    descriptor: beam_fn_api_pb2.ProcessBundleDescriptor
    input_id: str
    topics: Mapping[str, str]

    @classmethod
    def of(cls, proto: beam_runner_api_pb2.Pipeline) -> FusedStage:
        """Return the stage of a graph that DataflowRunner has staged.

        Raises:
            NoSuchStageError: Something is not read from or written to Pub/Sub, or does not fuse.
        """
        context, stages = translations.create_and_optimize_stages(
            copy.deepcopy(proto), phases=_PHASES, known_runner_urns=_RUNNER_URNS
        )
        ours = [stage for stage in stages if not stage.is_runner_urn(context)]
        if len(ours) != 1:
            raise NoSuchStageError(f"{len(ours)} fused stages instead of one: {[each.name for each in ours]}")
        runners = [transform for stage in stages if stage is not ours[0] for transform in stage.transforms]
        read = {pcoll for each in runners if each.spec.urn == _READ for pcoll in each.outputs.values()}
        writes = {
            pcoll: beam_runner_api_pb2.PubSubWritePayload.FromString(each.spec.payload).topic
            for each in runners
            if each.spec.urn == _WRITE
            for pcoll in each.inputs.values()
        }
        descriptor = beam_fn_api_pb2.ProcessBundleDescriptor(
            id="stage",
            pcollections=context.components.pcollections,
            coders=context.components.coders,
            windowing_strategies=context.components.windowing_strategies,
            environments=context.components.environments,
        )
        inputs, topics = [], {}
        for number, transform in enumerate(ours[0].transforms):
            transform_id = f"{number}-{transform.unique_name}"
            new = descriptor.transforms[transform_id]
            new.CopyFrom(transform)
            if new.spec.urn not in (DATA_INPUT_URN, DATA_OUTPUT_URN):
                continue
            is_input = new.spec.urn == DATA_INPUT_URN
            (pcoll,) = (new.outputs if is_input else new.inputs).values()
            if is_input and pcoll in read:
                inputs.append(transform_id)
            elif not is_input and pcoll in writes:
                topics[transform_id] = writes[pcoll]
            else:
                raise NoSuchStageError(f"{pcoll} is neither read from Pub/Sub nor written to it")
            _check_is_bytes(context.components, pcoll)
            port = beam_fn_api_pb2.RemoteGrpcPort(coder_id=context.data_channel_coders[pcoll])
            new.spec.payload = port.SerializeToString()
        if len(inputs) != 1:
            raise NoSuchStageError(f"{len(inputs)} native reads of Pub/Sub instead of one")
        return cls(descriptor, inputs[0], topics)

    def served_at(self, data_address: str) -> beam_fn_api_pb2.ProcessBundleDescriptor:
        """Return the descriptor for a runner whose data channel is at this address (host:port)."""
        descriptor = copy.deepcopy(self.descriptor)
        address = endpoints_pb2.ApiServiceDescriptor(url=data_address)
        for transform_id in (self.input_id, *self.topics):
            spec = descriptor.transforms[transform_id].spec
            port = beam_fn_api_pb2.RemoteGrpcPort.FromString(spec.payload)
            port.api_service_descriptor.CopyFrom(address)
            spec.payload = port.SerializeToString()
        return descriptor


def encode(elements: Iterable[bytes], timestamp_s: float) -> tuple[bytes, ...]:
    """Return elements as a data channel carries them, in pieces of about 1 MiB.

    Args:
        elements: Serialized PubsubMessages.
        timestamp_s: Of all of them, in epoch seconds: the service gives the publish time.
    """
    timestamp, window = Timestamp.of(timestamp_s), (GlobalWindow(),)
    pieces, stream = [], create_OutputStream()
    for element in elements:
        _CODER.encode_to_stream(WindowedValue(element, timestamp, window), stream, True)
        if stream.size() >= _PIECE_BYTES:
            pieces.append(stream.get())
            stream = create_OutputStream()
    if stream.size():
        pieces.append(stream.get())
    return tuple(pieces)


def decode(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Return the elements in what a data channel has carried."""
    for piece in pieces:
        stream = create_InputStream(piece)
        while stream.size() > 0:
            yield _CODER.decode_from_stream(stream, True).value


def _check_is_bytes(components: beam_runner_api_pb2.Components, pcoll: str) -> None:
    """Refuse a graph whose native steps would not take and give bytes."""
    coder = components.coders[components.pcollections[pcoll].coder_id]
    if coder.spec.urn != common_urns.coders.BYTES.urn:
        raise NoSuchStageError(f"{pcoll} has the coder {coder.spec.urn}, and Pub/Sub steps take bytes")
