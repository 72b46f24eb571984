"""One error type for each stage a request can fail in, and one for trouble that passes."""


class RequestError(Exception):
    """A request that cannot be served. It becomes a dead letter; the requests beside it go on.

    Attributes:
        stage: where the request failed, the `error_stage` of its dead letter.
        request_id: the request's id, as far as it was known by then.
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


class ModelError(Exception):
    """The model cannot be loaded or does not fit the flags. The message names the file or the flag."""


class HookError(Exception):
    """A hook cannot be loaded. The message names its flag."""


class TransientError(Exception):
    """Trouble outside the request that outlasted its deadline.

    Never a dead letter: the messages stay unacknowledged and are delivered again.
    """


class EndpointError(Exception):
    """The endpoint cannot serve this job: it does not exist, refuses the caller or does not know the method.

    No request is to blame, so none becomes a dead letter. The message says what to check.
    """
