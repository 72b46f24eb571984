"""What an endpoint's answer other than 200 blames: one instance, the call, the endpoint, or nobody.

TABLE is all that is known, a row for each kind of answer; the first row that matches counts. docs/endpoint.md
shows it, and a test sends an example of each row through the client.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum


class Blame(Enum):
    """Who is to blame for an answer."""

    # Refused again whenever it comes: a dead letter, once it stands alone.
    INSTANCE = "this instance"
    # Its size. Smaller calls may be served; an instance that is too large by itself is a dead letter.
    CALL = "this call"
    # It will serve none: the job ends.
    ENDPOINT = "this endpoint"
    # It passes: the call is tried again.
    NOBODY = "nobody"
    # Taken for the instance's once others have been served.
    UNKNOWN = "not known"


@dataclass(frozen=True)
class Row:
    """One kind of answer.

    Attributes:
        server: Who answers so.
        source: Where that is to be read.
        statuses: Of HTTP.
        blame: Who is to blame.
        word: Google's status or TorchServe's type of exception; "" for any, and for none.
        phrases: The message holds one of them, in any case; empty for any message.
        needs_others: Whether it is believed to be the instance's only once the endpoint has served others: an
            endpoint that serves nobody answers the same.
        attempts: How often a lone instance must be answered so until it is believed: where servers put
            instances of several calls together, one answer may be meant for a neighbour.
        batch_attempts: How often a call of several must be answered so until it is halved.
        congested: The endpoint is full, or slower than a proxy or the client waits.
        not_ready: It has no replica yet.
        token_refused: It did not accept the access token.
        advice: What to check where the endpoint is to blame.
    """

    server: str
    source: str
    statuses: Collection[int]
    blame: Blame
    word: str = ""
    phrases: tuple[str, ...] = ()
    needs_others: bool = False
    attempts: int = 1
    batch_attempts: int = 1
    congested: bool = False
    not_ready: bool = False
    token_refused: bool = False
    advice: str = ""

    def matches(self, status: int, words: Collection[str], message: str) -> bool:
        """Return whether an answer is of this kind; `message` is in lower case."""
        return (
            status in self.statuses
            and (not self.word or self.word in words)
            and (not self.phrases or any(phrase.lower() in message for phrase in self.phrases))
        )


_VERTEX = "Vertex AI's front-end"
_PREBUILT = "Vertex AI's prebuilt containers"
_OURS = "our container"
_ERRORS = "https://cloud.google.com/apis/design/errors#handling_errors"
_HTTP = "RFC 9110, section 15"
_THE_FLAGS = "Check the endpoint and the flags that name it"
_PROTOCOL = "Check --endpoint_protocol and --endpoint_url"

TABLE: tuple[Row, ...] = (
    # What the message says of the endpoint counts whatever the status says.
    Row(
        _VERTEX,
        # `Endpoint … misconfigured, "traffic_split" not set.` is what was reported. The others have not been:
        # they are there because an endpoint that lost its model must not make dead letters.
        "gcloud ai endpoints predict, once the model was undeployed",
        {400, 404},
        Blame.ENDPOINT,
        phrases=(
            '"traffic_split" not set',
            "no deployed model",
            "no model deployed",
            "no model is deployed",
            "not have any deployed model",
            "not have a deployed model",
        ),
        advice="Deploy a model to the endpoint (./launch.sh endpoint deploy), with a share of its traffic",
    ),
    Row(
        _VERTEX,
        "https://cloud.google.com/vertex-ai/docs/predictions/choose-endpoint-type",
        {400},
        Blame.ENDPOINT,
        phrases=("cannot be accessed through the shared Vertex AI domain",),
        advice="Name its server by --endpoint_url=https://ID.REGION-UID.prediction.vertexai.goog",
    ),
    Row(
        "a server of TLS only (nginx, Go)",
        "https://nginx.org/en/docs/http/ngx_http_ssl_module.html#errors",
        {400},
        Blame.ENDPOINT,
        phrases=("plain HTTP request was sent to HTTPS port", "sent an HTTP request to an HTTPS server"),
        advice="Give --endpoint_url with https://",
    ),
    Row(
        "a server that wants certificates (nginx)",
        "https://nginx.org/en/docs/http/ngx_http_ssl_module.html#errors",
        {400},
        Blame.ENDPOINT,
        phrases=("No required SSL certificate was sent", "The SSL certificate error"),
        advice="It asks its clients for a certificate of their own, and this job has none",
    ),
    Row(
        _VERTEX,
        "https://github.com/google-github-actions/auth/issues/250",
        {403},
        Blame.ENDPOINT,
        phrases=("serviceusage.services.use", "quota project", "USER_PROJECT_DENIED"),
        advice="The credentials' quota project (x-goog-user-project) is missing, or their account may not "
        "use it. Grant the account serviceusage.services.use there (role Service Usage Consumer), or name "
        "another: GOOGLE_CLOUD_QUOTA_PROJECT, or gcloud auth application-default set-quota-project",
    ),
    Row(
        _VERTEX,
        "https://cloud.google.com/service-usage/docs/enable-disable",
        {403},
        Blame.ENDPOINT,
        phrases=("has not been used in project", "SERVICE_DISABLED"),
        advice="Switch the API on in that project: gcloud services enable aiplatform.googleapis.com",
    ),
    Row(
        _VERTEX,
        _ERRORS,
        {403},
        Blame.ENDPOINT,
        advice="Grant the worker's service account aiplatform.endpoints.predict (role Vertex AI User)",
    ),
    Row(_VERTEX, _ERRORS, {401}, Blame.NOBODY, token_refused=True),
    Row(
        f"{_VERTEX}, all",
        _ERRORS,
        {404, 410},
        Blame.ENDPOINT,
        advice="Check --endpoint, --endpoint_location, --endpoint_url and --project",
    ),
    Row(f"{_OURS}, all", _HTTP, {405, 406, 415, 501, 505}, Blame.ENDPOINT, advice=_PROTOCOL),
    Row("all", _HTTP, range(300, 400), Blame.ENDPOINT, advice=_THE_FLAGS),
    Row(
        "a network that asks for a login",
        "RFC 6585, section 6",
        {407, 511},
        Blame.ENDPOINT,
        advice="Check HTTPS_PROXY and NO_PROXY",
    ),
    # Sizes.
    Row(
        _VERTEX,
        "https://github.com/GoogleCloudPlatform/python-docs-samples/issues/1247",
        {400},
        Blame.CALL,
        phrases=("request payload size exceeds",),
    ),
    Row(
        _VERTEX,
        "https://github.com/googleapis/python-aiplatform/issues/190",
        {400},
        Blame.CALL,
        phrases=("response size too large",),
    ),
    Row(
        "Triton",
        "https://github.com/triton-inference-server/server/issues/6165",
        {400},
        Blame.CALL,
        phrases=("inference request batch-size must be <=",),
    ),
    Row(f"{_OURS}, proxies", _HTTP, {413}, Blame.CALL),
    # What a model makes of an instance.
    Row(f"{_OURS}, also behind Vertex AI", _ERRORS, {400, 422}, Blame.INSTANCE, word="INVALID_ARGUMENT"),
    Row(
        f"{_PREBUILT}: sklearn, XGBoost",
        "https://github.com/googleapis/python-aiplatform/issues/514",
        {400},
        Blame.INSTANCE,
        word="FAILED_PRECONDITION",
        phrases=("Prediction failed",),
        needs_others=True,
    ),
    # TensorFlow's and others' own errors, which Vertex AI hands on so; also states of the endpoint.
    Row(f"{_PREBUILT}: others", _ERRORS, {400}, Blame.UNKNOWN, word="FAILED_PRECONDITION", needs_others=True),
    Row(
        "TorchServe",
        # The second phrase: https://github.com/pytorch/serve/issues/2035
        "https://github.com/pytorch/serve/issues/410",
        {500, 503},
        Blame.INSTANCE,
        word="InternalServerException",
        phrases=("Prediction failed", "Invalid model predict output"),
        needs_others=True,
        attempts=3,
    ),
    # Its backends hand on what a GPU that is full or lost says.
    Row(
        "Triton",
        "https://github.com/triton-inference-server/pytorch_backend/blob/main/src/libtorch.cc",
        {500},
        Blame.NOBODY,
        phrases=("CUDA error", "CUDA out of memory", "cudaError", "CUDNN_STATUS", "CUBLAS_STATUS"),
    ),
    # All requests of the batch that it formed get the same, the innocent too.
    Row(
        "Triton: Python",
        "tried with 2.51",
        {500},
        Blame.INSTANCE,
        phrases=("failed to process the request(s) for model",),
        needs_others=True,
        attempts=4,
        batch_attempts=2,
    ),
    Row(
        "Triton: PyTorch, ONNX Runtime",
        "https://github.com/triton-inference-server/pytorch_backend/blob/main/src/libtorch.cc",
        {500},
        Blame.INSTANCE,
        phrases=("PyTorch execute failure", "onnx runtime error"),
        needs_others=True,
        attempts=4,
        batch_attempts=2,
    ),
    Row("TensorFlow Serving, Triton, TorchServe, all", _HTTP, {400, 422}, Blame.INSTANCE),
    # What passes.
    Row(
        _VERTEX,
        "https://cloud.google.com/vertex-ai/docs/predictions/autoscaling#scale-to-zero",
        {429},
        Blame.NOBODY,
        phrases=("not yet ready for inference",),
        not_ready=True,
    ),
    Row(
        f"{_VERTEX} (quota), Triton and TorchServe (queue full)",
        "https://cloud.google.com/docs/quotas/troubleshoot",
        {429, 503, 504},
        Blame.NOBODY,
        congested=True,
    ),
    # 507: TorchServe's "Worker died.", https://github.com/pytorch/serve/issues/281
    Row("all", _HTTP, {408, 499, *range(500, 600)}, Blame.NOBODY),
    Row("all", "in no other row", range(1000), Blame.UNKNOWN, needs_others=True),
)


def blame_for(status: int, words: Collection[str], message: str) -> Row:
    """Return the row of an answer.

    Args:
        status: Of HTTP, below 1,000.
        words: What the body has for Google's status and for TorchServe's type of exception.
        message: The server's own.
    """
    message = message.lower()
    return next(row for row in TABLE if row.matches(status, words, message))
