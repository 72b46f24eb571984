"""The meaning of an endpoint's HTTP response: served, refused, try again, or no use to ask this endpoint."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.inference.endpoint.blame import Blame, Row, blame_for
from pipeline.request.errors import EndpointError

_MESSAGE_BYTES = 500
# A container's error, in Vertex AI's, is in a text of JSON, which is in a text of JSON.
_NESTED = 4

_SERVER_TIME = re.compile(r"\btotal;\s*dur=([0-9.]+)")


class RefusedError(Exception):
    """A refusal of these instances by the endpoint; the message is the server's.

    Attributes:
        row: What is known about such answers.
    """

    def __init__(self, message: str, row: Row) -> None:
        super().__init__(message)
        self.row = row


class RetryError(Exception):
    """A failure after which the call may be made again.

    Attributes:
        congested: The endpoint is full.
        not_ready: It has no replica yet, and is scaling up.
        token_refused: It did not accept the access token.
        after_s: Seconds that the server asked to wait; 0 if it did not.
    """

    def __init__(
        self,
        message: str,
        *,
        congested: bool = False,
        not_ready: bool = False,
        token_refused: bool = False,
        after_s: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.congested = congested
        self.not_ready = not_ready
        self.token_refused = token_refused
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP response.

    Attributes:
        status: The status code.
        headers: The headers; their names are in lower case.
        body: The body, as far as it was read.
        cut: Whether there was more of it.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    cut: bool = False

    @property
    def encoding(self) -> str:
        """What the body is compressed by, though the request wants no such thing; empty if it is not."""
        encoding = self.headers.get("content-encoding", "").strip().lower()
        return "" if encoding == "identity" else encoding

    @property
    def server_ms(self) -> float | None:
        """Milliseconds that the server says it took: `total` of its Server-Timing header (W3C)."""
        match = _SERVER_TIME.search(self.headers.get("server-timing", ""))
        try:
            milliseconds = float(match.group(1)) if match is not None else math.inf
        except ValueError:
            return None
        return milliseconds if math.isfinite(milliseconds) else None

    @property
    def model_id(self) -> str | None:
        """The model that our container's header names; None without."""
        return self.headers.get("x-model-id") or None

    @property
    def deployed_model_id(self) -> str | None:
        """The id of the deployed model that Vertex AI's header of raw predict has; None without."""
        return self.headers.get("x-vertex-ai-deployed-model-id") or None

    def check(self, url: str) -> None:
        """Return if the call was served, otherwise raise.

        Raises:
            RefusedError: The endpoint refuses the instances.
            RetryError: The call may be made again.
            EndpointError: This endpoint will never serve the job.
        """
        if self.status == 200 and self.encoding:
            name = printable(self.encoding, _MESSAGE_BYTES)
            raise RetryError(f"the answer is compressed (Content-Encoding: {name}), which was not asked for")
        if self.status == 200:
            return
        message, words = self._error()
        row = blame_for(self.status, words, message)
        text = f"{self.status} {printable(message.strip(), _MESSAGE_BYTES)}".rstrip()
        if row.blame is Blame.ENDPOINT:
            raise EndpointError(f"{url} answered {text}. {row.advice}")
        if row.blame is not Blame.NOBODY:
            raise RefusedError(text, row)
        raise RetryError(
            text,
            congested=row.congested,
            not_ready=row.not_ready,
            token_refused=row.token_refused,
            after_s=self._retry_after(),
        )

    def _error(self) -> tuple[str, set[str]]:
        """Return the server's message, as it came, and the names of errors that its body holds.

        Those are Google's status codes and TorchServe's types. What Vertex AI or another server quotes of the
        server behind it is read too.
        """
        if self.encoding:
            return f"(compressed by {self.encoding})", set()
        text = self.body.decode(errors="replace")
        words: set[str] = set()
        for _ in range(_NESTED):
            found = _json(text)
            if isinstance(found, dict):
                error = found.get("error")
                if isinstance(error, dict):
                    found = error
                words.update(word for key in ("status", "type") if isinstance(word := found.get(key), str))
                # Google's and TorchServe's, Triton's and TensorFlow Serving's.
                found = found.get("message") or error
            if not isinstance(found, str) or not found:
                break
            text = found
        return text, words

    def _retry_after(self) -> float:
        text = self.headers.get("retry-after", "")
        return (
            float(text) if text.isascii() and text.isdigit() else 0.0
        )  # no server here uses the form with a date


def printable(text: str, most_bytes: int) -> str:
    """Return what a server sent as text for a log, a message or an attribute.

    White space becomes spaces, control characters and half surrogates are replaced, and it is cut to
    `most_bytes` bytes of UTF-8.
    """
    text = text[:most_bytes]
    if not text.isprintable():
        text = "".join(map(_printable, text))
    return text if text.isascii() else text.encode()[:most_bytes].decode(errors="ignore")


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else "\ufffd"


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
