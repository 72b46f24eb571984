"""The runner's half of Beam's Fn API on loopback: control, data and logging of SDK processes.

Dataflow's own half is not public, so this is what it must be by the protocol: a bundle is an instruction and
its elements; it is done once the response and the last output have come. There is no state: a stage with side
inputs fails in its first bundle, and says so. No progress is asked for, and nothing is split.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2 as fn_api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as fn_api_grpc

from benchmarks.harness.bundles import Bundle, BundleFailedError, ProcessLostError
from benchmarks.harness.fused_stage import FusedStage

_UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_THREADS_A_PROCESS = 8  # a stream holds one: control, data, logging, and those of a process before it
_LOG_LINES = 1000
_STOP_S = 5


@dataclass
class _Pending:
    """A bundle in flight."""

    unfinished: set[str]
    future: Future[Bundle] = field(default_factory=Future)
    pieces: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    infos: Sequence[Any] | None = None


class Connection:
    """The streams of one SDK process.

    Attributes:
        log: The last lines that the process has logged.
        requests: Instructions for the process; None ends the stream.
        elements: For the process; None ends the stream.
    """

    def __init__(self, stage: FusedStage) -> None:
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self.requests: SimpleQueue[Any] = SimpleQueue()
        self.elements: SimpleQueue[Any] = SimpleQueue()
        self._stage = stage
        self._pending: dict[str, _Pending] = {}
        self._lost: str | None = None
        self._lock = threading.Lock()
        self._numbers = count()

    def submit(self, pieces: Iterable[bytes]) -> Future[Bundle]:
        """Have the process run a bundle of these elements, as `fused_stage.encode` returns them.

        The future's exception is a BundleFailedError. Its callbacks run on the thread that reads the streams.
        """
        pending = _Pending(set(self._stage.topics))
        with self._lock:
            if self._lost is not None:
                pending.future.set_exception(ProcessLostError(self._lost))
                return pending.future
            instruction_id = f"bundle-{next(self._numbers)}"
            self._pending[instruction_id] = pending
        self.requests.put(
            fn_api.InstructionRequest(
                instruction_id=instruction_id,
                process_bundle=fn_api.ProcessBundleRequest(
                    process_bundle_descriptor_id=self._stage.descriptor.id
                ),
            )
        )
        to = {"instruction_id": instruction_id, "transform_id": self._stage.input_id}
        for piece in pieces:
            self.elements.put(fn_api.Elements(data=[fn_api.Elements.Data(data=piece, **to)]))
        self.elements.put(fn_api.Elements(data=[fn_api.Elements.Data(is_last=True, **to)]))
        return pending.future

    def respond(self, response: Any) -> None:
        """Take a response of the process."""
        with self._lock:
            pending = self._pending.get(response.instruction_id)
            if pending is None:
                return
            if response.error:
                del self._pending[response.instruction_id]
            else:
                pending.infos = response.process_bundle.monitoring_infos
        if response.error:
            pending.future.set_exception(BundleFailedError(response.error))
        else:
            self._settle(response.instruction_id, pending)

    def receive(self, data: Any) -> None:
        """Take a part of an output. Those of a bundle that has failed are dropped."""
        with self._lock:
            pending = self._pending.get(data.instruction_id)
            if pending is None:
                return
            if data.data:
                pending.pieces[self._stage.topics[data.transform_id]].append(data.data)
            if data.is_last:
                pending.unfinished.discard(data.transform_id)
        self._settle(data.instruction_id, pending)

    def lose(self, reason: str) -> None:
        """Fail all bundles in flight and all later ones, and end the streams. The first call counts."""
        with self._lock:
            if self._lost is not None:
                return
            self._lost = reason
            failed, self._pending = self._pending, {}
        for pending in failed.values():
            pending.future.set_exception(ProcessLostError(reason))
        self.requests.put(None)
        self.elements.put(None)

    def _settle(self, instruction_id: str, pending: _Pending) -> None:
        with self._lock:
            is_done = pending.infos is not None and not pending.unfinished
            if not is_done or self._pending.pop(instruction_id, None) is None:
                return
        assert pending.infos is not None
        pending.future.set_result(Bundle(pending.pieces, pending.infos))


class FnApiServer(
    fn_api_grpc.BeamFnControlServicer, fn_api_grpc.BeamFnDataServicer, fn_api_grpc.BeamFnLoggingServicer
):
    """Serves a stage to some SDK processes, each under its worker id. A context: it ends with the `with`.

    Attributes:
        control_address: host:port, as are the others.
        logging_address: Of the logging service.
    """

    def __init__(self, stage: FusedStage, processes: int) -> None:
        self._stage = stage
        self._connections: dict[str, Connection] = {}
        self._threads = ThreadPoolExecutor(_THREADS_A_PROCESS * processes, "fn-api")
        self._server = grpc.server(self._threads, options=_UNLIMITED)
        fn_api_grpc.add_BeamFnControlServicer_to_server(self, self._server)
        fn_api_grpc.add_BeamFnDataServicer_to_server(self, self._server)
        fn_api_grpc.add_BeamFnLoggingServicer_to_server(self, self._server)
        # A port each, so that the process has a connection each, as it has with any runner.
        self.control_address, self.logging_address, data_address = (
            f"localhost:{self._server.add_insecure_port('localhost:0')}" for _ in range(3)
        )
        self._descriptor = stage.served_at(data_address)

    def __enter__(self) -> FnApiServer:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections.values():
            connection.lose("the runner has ended")
        self._server.stop(_STOP_S).wait()
        self._threads.shutdown()

    def expect(self, worker_id: str) -> Connection:
        """Return the connection of a process that will come under this id."""
        connection = self._connections[worker_id] = Connection(self._stage)
        return connection

    def Control(self, responses: Iterator[Any], context: Any) -> Iterator[Any]:
        """Send instructions, and take responses."""
        worker_id, connection = self._of(context)
        context.add_callback(lambda: connection.lose(f"{worker_id} has closed its control stream"))
        _read(responses, connection.respond)
        yield from iter(connection.requests.get, None)

    def GetProcessBundleDescriptor(self, request: Any, context: Any) -> Any:
        """Return the stage."""
        return self._descriptor

    def Data(self, elements: Iterator[Any], context: Any) -> Iterator[Any]:
        """Send inputs, and take outputs."""
        _, connection = self._of(context)

        def receive(some: Any) -> None:
            for data in some.data:
                connection.receive(data)

        _read(elements, receive)
        yield from iter(connection.elements.get, None)

    def Logging(self, lists: Iterator[Any], context: Any) -> Iterator[Any]:
        """Keep what the process logs."""
        _, connection = self._of(context)
        try:
            for entries in lists:
                connection.log.extend(
                    f"{fn_api.LogEntry.Severity.Enum.Name(entry.severity)} {entry.message}"
                    for entry in entries.log_entries
                )
        except grpc.RpcError:
            pass  # the process is gone, which its control stream tells
        return iter(())

    def _of(self, context: Any) -> tuple[str, Connection]:
        worker_id = dict(context.invocation_metadata())["worker_id"]
        return worker_id, self._connections[worker_id]


def _read(messages: Iterator[Any], take: Any) -> None:
    """Take each message of a stream on a thread of its own, until the stream or its process ends."""

    def read() -> None:
        try:
            for message in messages:
                take(message)
        except grpc.RpcError:
            pass  # the stream's end is told by its context

    threading.Thread(target=read, name="fn-api-reader", daemon=True).start()
