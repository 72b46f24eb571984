"""A front before a real endpoint container: it passes calls on, or misbehaves as a test tells it to."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from http import HTTPStatus
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

JSON_TYPE, FLOAT32_TYPE = "application/json", "application/x-float32"
# google.rpc.Code by HTTP status: https://cloud.google.com/apis/design/errors#handling_errors
_CODES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    413: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE",
}  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    """An error status with Google's error body. The container is not asked."""

    status: int
    message: str = "fault injected by a test"
    retry_after_s: int | None = None


class Broken(Enum):
    """What else an endpoint may do to a call."""

    HANG = auto()  # reads the request and never answers
    CUT_BODY = auto()  # closes the connection after half of the answer's body
    MALFORMED = auto()  # 200 with half of the JSON; by raw, with half the bytes that the shape promises
    TOO_FEW = auto()  # 200 without the first prediction, so that all others seem to be their neighbours'
    TOO_MANY = auto()  # 200 with the first prediction twice, so that they do, too


@dataclass(frozen=True)
class Answer:
    """Bytes in place of the container's answer, head and all. The connection is closed after them.

    Where there is an `again`, it follows for as long as the client listens, each after `pause_s`.
    """

    data: bytes
    again: bytes = b""
    pause_s: float = 0.0

    @classmethod
    def of(cls, body: bytes, status: int = 200, **headers: str) -> Answer:
        """Return one with a well-formed head; an underscore in a header's name stands for a dash."""
        named = {"Content_Type": JSON_TYPE, "Content_Length": str(len(body)), **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n"
        return cls(head.encode("latin-1") + body)


Fault = Refusal | Broken | Answer


@dataclass
class Call:
    """One request that reached the front."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    rows: NDArray[np.float32]  # [instances, features]
    arrived: float  # time.monotonic()
    number: int  # of those before it
    fault: Fault | None = None
    status: int | None = None  # of the answer; None while there is none, or where it was not a whole one
    sent_bytes: int = 0  # of an `Answer`, as far as the client took them


@dataclass(frozen=True)
class _Message:
    """An HTTP/1.1 request or response; `head` is all up to the empty line, with it."""

    head: bytes
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        pairs = (line.partition(":") for line in self.head.decode("latin-1").split("\r\n")[1:] if line)
        return {name.lower(): value.strip() for name, _, value in pairs}

    def with_body(self, body: bytes) -> _Message:
        length = re.compile(rb"(?i)(\r\ncontent-length:) *\d+")
        return replace(self, head=length.sub(rb"\1 %d" % len(body), self.head), body=body)


@dataclass
class _Rule:
    faults: Sequence[Fault]
    every: int
    times: int | None
    when: Callable[[Call], bool]
    matched: int = 0
    struck: int = 0

    def next(self, call: Call) -> Fault | None:
        if not self.when(call):
            return None
        self.matched += 1
        if self.matched % self.every or self.struck == self.times:
            return None
        self.struck += 1
        return self.faults[(self.struck - 1) % len(self.faults)]


@dataclass
class FaultyEndpoint:
    """Serves on 127.0.0.1 from a background thread while the `with` block runs.

        with FaultyEndpoint("127.0.0.1", 8080, features=30) as front:
            front.misbehave(Refusal(503), every=5)

    A call goes to `host`:`port` and its answer comes back byte for byte, whatever the model; paths as Vertex
    AI has them (`…/endpoints/ID:predict`, `:rawPredict`) become `predict_route` on the way. `features` is the
    length of an instance. Calls are held for once, twice, three times `delay_s` in turn before they go on or
    are refused, so that their answers overtake each other. Every method may be called from any thread.
    """

    host: str
    port: int
    features: int
    delay_s: float = 0.0
    predict_route: str = "/predict"
    _rule: _Rule | None = field(default=None, init=False)
    _calls: list[Call] = field(default_factory=list, init=False)

    def misbehave(
        self,
        *faults: Fault,
        every: int = 1,
        times: int | None = None,
        when: Callable[[Call], bool] = lambda _call: True,
    ) -> None:
        """Fault each `every`-th POST for which `when` holds, from now on and at most `times` times.

        Several faults take turns. They replace those of an earlier call.
        """
        with self._lock:
            self._rule = _Rule(faults, every, times, when)

    def behave(self) -> None:
        """Pass everything on again. A call that hangs goes on hanging."""
        with self._lock:
            self._rule = None

    @property
    def calls(self) -> list[Call]:
        """The POSTs so far, in order of arrival."""
        with self._lock:
            return [call for call in self._calls if call.method == "POST"]

    @property
    def faulted(self) -> list[Call]:
        """Those of them that met a fault."""
        return [call for call in self.calls if call.fault is not None]

    def go_away(self) -> None:
        """Break every connection and refuse new ones."""
        self._on_loop(self._close())

    def come_back(self) -> None:
        """Listen again, on the same port."""
        self._on_loop(self._listen())

    @property
    def url(self) -> str:
        """http://HOST:PORT, without a path."""
        return f"http://127.0.0.1:{self._reserved.getsockname()[1]}"

    def __enter__(self) -> FaultyEndpoint:
        self._lock = threading.Lock()
        self._connections: set[asyncio.StreamWriter] = set()
        # Bound as long as the front lives and never listening: while away, nobody else gets the port.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(started)), daemon=True)
        self._thread.start()
        started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._reserved.close()

    def _on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _run(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        await self._listen()
        started.set_result(None)
        await self._stopping.wait()
        # Each connection has a task. One that was being accepted gets its own only now.
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await self._close()
            await asyncio.wait(tasks)
        await self._close()

    async def _listen(self) -> None:
        port = self._reserved.getsockname()[1]
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port, reuse_port=True)

    async def _close(self) -> None:
        self._server.close()
        for writer in self._connections:
            writer.transport.abort()

    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Coroutine[Any, Any, None]:
        # Noted here and not in the task: `_close` may come before the task begins.
        self._connections.add(writer)
        return self._serve_all(reader, writer)

    async def _serve_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._serve(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone, or was sent away
        finally:
            self._connections.remove(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection stays open."""
        request = await _read(reader)
        call, fault = self._admit(request)
        await asyncio.sleep(self.delay_s * (1 + call.number % 3))
        if fault is Broken.HANG:
            await reader.read()  # until the client hangs up
            return False
        if isinstance(fault, Answer):
            await _write(writer, fault, call)
            return False
        answer = _refuse(fault) if isinstance(fault, Refusal) else await self._pass_on(request, call.path)
        if fault is Broken.CUT_BODY:
            writer.write(answer.head + answer.body[: len(answer.body) // 2])
            await writer.drain()
            return False
        if isinstance(fault, Broken):
            answer = _spoil(answer, fault)
        call.status = int(answer.head.split(maxsplit=2)[1])
        writer.write(answer.head + answer.body)
        await writer.drain()
        return True

    def _admit(self, request: _Message) -> tuple[Call, Fault | None]:
        method, path, _ = request.head.split(b"\r\n", 1)[0].decode().split(" ")
        rows = np.empty((0, self.features), np.float32)
        if method == "POST" and request.headers["content-type"] == FLOAT32_TYPE:
            rows = np.frombuffer(request.body, "<f4").reshape(-1, self.features)
        elif method == "POST":
            rows = np.array(json.loads(request.body)["instances"], np.float32).reshape(-1, self.features)
        with self._lock:
            call = Call(method, path, request.headers, rows, time.monotonic(), len(self._calls))
            if self._rule is not None and method == "POST":
                call.fault = self._rule.next(call)
            self._calls.append(call)
        return call, call.fault

    async def _pass_on(self, request: _Message, path: str) -> _Message:
        head = request.head
        if path.endswith((":predict", ":rawPredict")):
            head = head.replace(path.encode(), self.predict_route.encode(), 1)
        # A connection a call: none can have gone stale in between.
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(head + request.body)
            return await _read(reader)
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> _Message:
    head = _Message(await reader.readuntil(b"\r\n\r\n"), b"")
    # Client and container both know the length of what they send: neither sends in chunks.
    assert "transfer-encoding" not in head.headers, head
    return replace(head, body=await reader.readexactly(int(head.headers.get("content-length", 0))))


async def _write(writer: asyncio.StreamWriter, answer: Answer, call: Call) -> None:
    piece = answer.data
    while piece:
        writer.write(piece)
        await writer.drain()
        call.sent_bytes += len(piece)
        await asyncio.sleep(answer.pause_s)
        piece = answer.again


def _refuse(refusal: Refusal) -> _Message:
    error = {"code": refusal.status, "message": refusal.message, "status": _CODES[refusal.status]}
    head = f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\nContent-Type: {JSON_TYPE}\r\n"
    if refusal.retry_after_s is not None:
        head += f"Retry-After: {refusal.retry_after_s}\r\n"
    return _Message(f"{head}Content-Length: 0\r\n\r\n".encode(), b"").with_body(
        json.dumps({"error": error}).encode()
    )


def _spoil(answer: _Message, fault: Broken) -> _Message:
    """Return the container's answer with the fault in it."""
    if fault is Broken.MALFORMED:
        return answer.with_body(answer.body[: len(answer.body) // 8 * 4])
    if answer.headers["content-type"].startswith(FLOAT32_TYPE):
        shape = re.compile(rb"(?i)(; ?shape=)(\d+)")
        found = shape.search(answer.head)
        assert found, answer.head
        rows = int(found[2])
        row_bytes = len(answer.body) // rows
        body = answer.body[row_bytes:] if fault is Broken.TOO_FEW else answer.body[:row_bytes] + answer.body
        head = shape.sub(rb"\g<1>%d" % (len(body) // row_bytes), answer.head)
        return replace(answer, head=head).with_body(body)
    predictions = json.loads(answer.body)["predictions"]
    changed = predictions[1:] if fault is Broken.TOO_FEW else [predictions[0], *predictions]
    return answer.with_body(json.dumps({"predictions": changed}).encode())
