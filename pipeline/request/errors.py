"""The errors of the job, in one tree, beside the way of a request.

    what may fail              error               what follows
    ─────────────              ─────               ────────────
    the launch                 Exception
      hooks                    ├── HookError           the job ends, exit code 2
      model                    ├── ModelError          the job ends, exit code 2
    one request                ├── RequestError        a dead letter; the requests beside it go on
      bytes to request         │   ├── DecodeError
      request to answer        │   ├── InferenceError
      answer to message        │   ├── EncodeError
      answer to row            │   └── WriteError
    what the job talks to
      input subscription       ├── SubscriptionError   the job ends, exit code 1
      endpoint                 ├── EndpointError       the job ends, exit code 1
      any of it, for too long  └── TransientError      the job ends, exit code 3: start it again

The exit codes are those of a job in one process; Dataflow fails the bundle and tries it again. Beside the
tree stands `pipeline.engine.fusion.UnfusedGraphError`, which no flag can cause. Errors that do not leave the
folder that raises them are defined there.
"""

from __future__ import annotations


class HookError(Exception):
    """A hook cannot be loaded. The message names its flag."""


class ModelError(Exception):
    """The model cannot be loaded or does not fit the flags. The message names the file or the flag."""


class RequestError(Exception):
    """A request that cannot be served. It becomes a dead letter; the requests beside it go on.

    Attributes:
        stage: Where the request failed, the `error_stage` of its dead letter.
        request_id: The request's id, as far as it was known by then.
    """

    stage = ""

    def __init__(self, message: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class DecodeError(RequestError):
    """The bytes are not a request."""

    stage = "decode"


class InferenceError(RequestError):
    """The model cannot answer this request."""

    stage = "inference"


class EncodeError(RequestError):
    """The answer cannot be written as a Pub/Sub message."""

    stage = "encode"


class WriteError(RequestError):
    """The answer is published, but the table refuses its row."""

    stage = "write"


class SubscriptionError(Exception):
    """The subscription cannot be read, and another attempt will not change that."""


class EndpointError(Exception):
    """The endpoint cannot serve this job: it does not exist, refuses the caller or does not know the method.

    No request is to blame, so none becomes a dead letter. The message says what to check.
    """


class TransientError(Exception):
    """Trouble outside the request that outlasted its deadline.

    Never a dead letter: the messages stay unacknowledged and are delivered again.
    """
