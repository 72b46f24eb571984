"""One call as HTTP brings it, and the bytes of its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote_to_bytes

from pipeline.request.wire_format import JSON_TYPE
from serving.errors import Reason, Refusal, error_content, error_headers

if TYPE_CHECKING:
    from serving.limits import BufferedBody

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


# Not frozen, for what that costs a call: see `batch_runner.BundleInputs`.
@dataclass(slots=True)
class Answer:
    """An answer to a call.

    Attributes:
        status: Of HTTP.
        content: The body.
        content_type: Of the body.
        headers: Beside Content-Type, Content-Length, Date and Connection.
        message: Of an error, for the log.
        reason: Of an error.
    """

    status: int
    content: bytes
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()
    message: str = ""
    reason: Reason | None = None

    @classmethod
    def of(cls, refusal: Refusal) -> Answer:
        """Return the answer that a refusal is: an error in Google's shape."""
        headers = (*error_headers(refusal.status).items(), *refusal.headers.items())
        message = str(refusal)
        content = error_content(refusal.status, message)
        return cls(refusal.status, content, headers=headers, message=message, reason=refusal.reason)


class Responder(Protocol):
    """What carries an answer to the client."""

    def respond(self, exchange: Exchange, answer: Answer) -> None:
        """Send the answer of an exchange, whose turn it is."""


@dataclass(slots=True, eq=False)
class Exchange:
    """A call, as far as it has come.

    Attributes:
        responder: Carries the answer.
        method: Of HTTP, such as POST.
        target: As it stands in the first line.
        version: Of HTTP, such as 1.1.
        headers: Values by lower-case name, of the names in `KNOWN` alone.
        body: None until the head is complete, where no body is wanted, and once its memory is let go.
        refusal: Why it is not served; None while nothing speaks against it.
        keep_alive: Whether the connection can go on after it.
        complete: Whether all of it has come.
        handled: Whether it was given to its handler.
        answered: Whether the answer is on its way.
        is_last: Whether the connection ends with that answer.
        gone: Whether the client has left.
        head_bytes: In names and values of all headers.
        expects_continue: Whether the client waits for 100 before it sends the body.
    """

    responder: Responder
    method: str = ""
    target: bytes = b""
    version: str = "1.1"
    headers: dict[bytes, list[bytes]] = field(default_factory=dict)
    body: BufferedBody | None = None
    refusal: Refusal | None = None
    keep_alive: bool = True
    complete: bool = False
    handled: bool = False
    answered: bool = False
    is_last: bool = False
    gone: bool = False
    head_bytes: int = 0
    expects_continue: bool = False

    def header(self, name: bytes) -> str:
        """Return the values of a header, joined by commas; empty without one."""
        values = self.headers.get(name)
        return b", ".join(values).decode("latin-1") if values else ""

    def first(self, name: bytes) -> str:
        """Return the first value of a header; empty without one."""
        values = self.headers.get(name)
        return values[0].decode("latin-1") if values else ""

    @property
    def path(self) -> str:
        """The path, decoded; without the query, and without the host that an absolute target names."""
        path = self.target.partition(b"?")[0]
        if b"://" in path:
            path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
        if b"%" in path:
            path = unquote_to_bytes(path)
        return path.decode("utf-8", "replace")

    def refuse(self, refusal: Refusal, *, close: bool = False) -> None:
        """Take note that the call is not served, and, where `close`, that none can follow it."""
        self.refusal = refusal
        self.keep_alive = self.keep_alive and not close
        self.release()

    def answer(self, answer: Answer) -> None:
        """Answer the call, unless its client has left."""
        if not self.gone:
            self.responder.respond(self, answer)

    def abandon(self) -> None:
        """Take note that nobody waits for the answer any more."""
        self.gone = True
        self.release()

    def release(self) -> None:
        """Let go of the memory of its body."""
        if self.body is not None:
            self.body.release()
            self.body = None


# The headers that anything here reads.
KNOWN = frozenset(
    {
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"transfer-encoding",
        b"x-server-timeout",
    }
)


class Writer:
    """Makes the bytes of answers. The date in them is that of the last `tick`."""

    def __init__(self) -> None:
        self._date = b""
        self.tick()

    def tick(self) -> None:
        """Take the time anew; to be called about twice a second."""
        self._date = formatdate(usegmt=True).encode("ascii")

    def message(self, answer: Answer, *, close: bool, bodiless: bool) -> bytes:
        """Return an answer as HTTP/1.1 has it.

        Args:
            answer: To be sent.
            close: Whether the connection ends with it.
            bodiless: Whether it is to HEAD: its length is told, its body is not sent.
        """
        lines = "".join([f"{name}: {value}\r\n" for name, value in answer.headers])
        head = b"HTTP/1.1 %d %b\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b\r\n" % (
            answer.status,
            _PHRASES.get(answer.status, "").encode("ascii"),
            self._date,
            answer.content_type.encode("latin-1"),
            len(answer.content),
            lines.encode("latin-1"),
            b"Connection: close\r\n" if close else b"",
        )
        return head if bodiless else head + answer.content
