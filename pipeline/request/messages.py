"""What is on its way through the job: request, result and dead letter, and the timeline of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.request.errors import RequestError
from pipeline.request.input_spec import Inputs


@dataclass(slots=True)
class Timeline:
    """When a request reached each point: epoch seconds, None where it has not, or where nobody knows.

    Attributes:
        published: Pub/Sub took the message.
        received: The job decoded it.
        batched: It was put into a batch.
        inference_start: The model or the endpoint was called.
        inference_end: The call returned.
        server_ms: Not a moment but milliseconds, within inference, that the endpoint reports.
    """

    published: float | None = None
    received: float | None = None
    batched: float | None = None
    inference_start: float | None = None
    inference_end: float | None = None
    server_ms: float | None = None


@dataclass(slots=True)
class Request:
    """One request.

    Attributes:
        request_id: The sender's, or the message's.
        inputs: Arrays of the model's shapes and dtypes, without the batch dimension.
        data: The message's body as it came, for a dead letter.
        attributes: The message's, as they came.
        passthrough: The fields of a JSON body that are not ours, as the text of a JSON object; the result
            carries them. As text they are never walked, neither between steps nor by Beam's samples of sizes.
        timeline: When it reached each point so far.
    """

    request_id: str
    inputs: Inputs
    data: bytes
    attributes: Mapping[str, str]
    passthrough: bytes
    timeline: Timeline


@dataclass(slots=True)
class Result:
    """The model's answer to a request.

    Attributes:
        request: What was asked.
        prediction: Anything that JSON can hold, numpy arrays and scalars included.
        model_id: The weights that made it.
        batch_size: Requests in the same call of the model.
    """

    request: Request
    prediction: Any
    model_id: str
    batch_size: int


@dataclass(slots=True)
class DeadLetter:
    """A request that was refused.

    Attributes:
        data: The message's body as it came.
        attributes: The message's, as they came.
        stage: Where it was refused (see `pipeline.request.errors`).
        error_type: Name of the exception's class.
        error_message: The reason.
        failed_at: Epoch seconds.
        request_id: Its id, as far as it is known.
    """

    data: bytes
    attributes: Mapping[str, str]
    stage: str
    error_type: str
    error_message: str
    failed_at: float
    request_id: str | None = None

    @classmethod
    def of(cls, error: RequestError, data: bytes, attributes: Mapping[str, str], now: float) -> DeadLetter:
        """Make the dead letter of a request that `error` refused; `now` is epoch seconds."""
        # The cause is what a person wants to see: the model's own ValueError, not our wrapper of it.
        cause = error.__cause__ or error
        name = type(cause).__name__
        return cls(data, attributes, error.stage, name, str(error), now, error.request_id)
