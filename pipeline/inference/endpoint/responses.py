"""The meaning of an endpoint's HTTP response: served, refused, try again, or no use to ask this endpoint."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.inference.endpoint.scale_up import NOT_READY
from pipeline.request.errors import EndpointError

# The request is to blame: the endpoint would refuse it again.
_REFUSED = frozenset({400, 413, 422})
# Transient failures of the server or of a proxy before it. 408 is a server's "you were too slow".
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
# The endpoint is full, or slower than a proxy or the client waits.
_CONGESTED = frozenset({429, 503, 504})
_MESSAGE_BYTES = 500

_SERVER_TIME = re.compile(r"\btotal;\s*dur=([0-9.]+)")


class RefusedError(Exception):
    """A refusal of these instances by the endpoint; the message is the server's."""


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
    def content_type(self) -> str:
        """The media type; empty without one."""
        return self.headers.get("content-type", "")

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
        """The model that the headers name: our container's, else Vertex AI's of raw predict; None without."""
        return self.headers.get("x-model-id") or self.headers.get("x-vertex-ai-deployed-model-id") or None

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
        message, code = self._error()
        message = printable(message.strip(), _MESSAGE_BYTES)
        text = f"{self.status} {message}".rstrip()
        # Google's FAILED_PRECONDITION comes with 400, but means the endpoint's state (no model is deployed).
        if self.status in _REFUSED and code != "FAILED_PRECONDITION":
            raise RefusedError(text)
        if self.status in _RETRIED:
            raise RetryError(
                text,
                congested=self.status in _CONGESTED,
                not_ready=self.status == 429 and NOT_READY in message,
                after_s=self._retry_after(),
            )
        if self.status == 401:
            raise RetryError(text, token_refused=True)
        raise EndpointError(f"{url} answered {text}. {_hint(self.status)}")

    def _error(self) -> tuple[str, object]:
        """Return the server's message, as it came, and Google's status code if there is one."""
        if self.encoding:
            return f"(compressed by {self.encoding})", None
        error = _json(self.body).get("error")
        message, code = (error.get("message"), error.get("status")) if isinstance(error, dict) else ("", None)
        if isinstance(message, str) and message:
            return message, code
        return self.body.decode(errors="replace"), code

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


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _hint(status: int) -> str:
    if status == 401:
        return "Check that it takes Google access tokens, or name it by --endpoint to have one sent"
    if status == 403:
        return "Grant the worker's service account aiplatform.endpoints.predict (role Vertex AI User)"
    if status == 404:
        return "Check --endpoint, --endpoint_location, --endpoint_url and --project"
    if status in (405, 406, 415):
        return "Check --endpoint_protocol and --endpoint_url"
    return "Check the endpoint and the flags that name it"
