"""What a client may cost: the time that a call may take to arrive, and the memory that it may fill."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from pipeline.request.input_spec import InputSpec
from serving.errors import Reason, Refusal

# Whatever Vertex AI's front-end lets through is read: 10 MB to dedicated endpoints, 1.5 MB to shared ones
# (https://cloud.google.com/vertex-ai/docs/quotas). More would only fill the memory.
MAX_BODY_BYTES = 10 * 2**20
# A small model gives no reason to refuse what even a shared endpoint takes.
_LEAST_BODY_BYTES = 3 * 2**19
# A JSON number of 17 digits with its sign, exponent, comma, line break and indentation takes less than 64; an
# instance may bring names, brackets and fields that are not read.
_NUMBER_BYTES = 64
_INSTANCE_BYTES = 1024


@dataclass(frozen=True)
class Limits:
    """The limits of one worker's HTTP server.

    Attributes:
        silence_s: Seconds from a new connection to its first byte.
        head_s: Seconds from a call's first byte to the end of its head.
        body_s: Seconds from there to the end of its body.
        answer_s: Seconds within which a client must take the answer.
        idle_s: Seconds between two calls. Google's load balancers keep idle connections for 600 s and ask
            servers to keep them for longer. Else a server closes one just when the next call is on its way
            (https://cloud.google.com/load-balancing/docs/https#timeouts_and_retries).
        connections: Open ones; for one more, the longest idle one is closed.
        buffered_bytes: Of the bodies of all calls that are not answered yet.
    """

    silence_s: float = 60.0
    head_s: float = 20.0
    body_s: float = 60.0
    answer_s: float = 60.0
    idle_s: float = 620.0
    connections: int = 800  # with torch's own files it stays below 1,024, a common limit of a process
    buffered_bytes: int = 64 * 2**20


def body_limit(spec: InputSpec, max_batch_size: int) -> int:
    """Return the bytes of the largest body that is read: as JSON of the largest batch, 10 MiB at most."""
    numbers = sum(prod(tensor.shape) for tensor in spec.tensors)
    room = max_batch_size * (_INSTANCE_BYTES + _NUMBER_BYTES * numbers)
    return min(MAX_BODY_BYTES, max(_LEAST_BODY_BYTES, room))


class BodyBuffer:
    """The memory for bodies of calls that are not answered yet; used from one thread.

    Attributes:
        free: Bytes that are left.
    """

    def __init__(self, body_bytes: int, all_bytes: int) -> None:
        """Begin empty.

        Args:
            body_bytes: Most bytes of one body.
            all_bytes: Most bytes of all of them.
        """
        self._body_bytes = body_bytes
        # One alone always fits.
        self.free = max(all_bytes, body_bytes)

    def limit_bodies(self, body_bytes: int) -> None:
        """Take bodies of at most so many bytes from now on, no more than at the beginning."""
        self._body_bytes = body_bytes

    def check_length(self, length: int) -> None:
        """Check the length that a head announces.

        Raises:
            Refusal: 413, it is more than is taken.
        """
        if length > self._body_bytes:
            raise Refusal(413, f"the body is too large: at most {self._body_bytes} bytes are taken")

    def body(self) -> BufferedBody:
        """Return an empty body. Its memory counts until it is released."""
        return BufferedBody(self)

    def _take(self, length: int, more: int) -> None:
        self.check_length(length + more)
        if more > self.free:
            full = "too many calls at once: the memory for their bodies is full"
            raise Refusal(503, full, reason=Reason.BUFFER_FULL)
        self.free -= more


class BufferedBody:
    """The body of one call, as far as it has come.

    Attributes:
        length: In bytes.
    """

    def __init__(self, buffer: BodyBuffer) -> None:
        self._buffer = buffer
        self._parts: list[bytes] = []
        self.length = 0

    def add(self, part: bytes) -> None:
        """Append a part.

        Raises:
            Refusal: 413, the body is larger than is taken; 503, the bodies of all calls are.
        """
        self._buffer._take(self.length, len(part))
        self.length += len(part)
        self._parts.append(part)

    def joined(self) -> bytes:
        """Return the whole; its parts are let go."""
        whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        return whole

    def release(self) -> None:
        """Give its memory back; once."""
        self._buffer.free += self.length
