"""The two sides of `benchmarks.endpoint`: stock Beam's handler and this project's, before the same server.

Stock's calls travel in two ways, and both are measured. To a shared endpoint stock speaks gRPC, the SDK's
default; the SDK's REST transport takes about twice the processor time (115 ms against 60 ms for 64 × 256
numbers). To a dedicated endpoint stock posts JSON over HTTP, the cheapest way that it has. Ours posts the
same way.

Handlers and SDK run unmodified, without TLS on either side: the SDK's gRPC client gets a channel without TLS,
and the session that posts to a dedicated endpoint sends by http what the SDK addresses to https.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import grpc
import numpy as np
from apache_beam.internal import pickler
from apache_beam.ml.inference.base import ModelHandler
from apache_beam.ml.inference.vertex_ai_inference import VertexAIModelHandlerJSON
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import aiplatform
from google.cloud.aiplatform_v1 import PredictionServiceClient
from google.cloud.aiplatform_v1.services.prediction_service.transports import PredictionServiceGrpcTransport
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from benchmarks.endpoint.process import EndpointProcess
from benchmarks.endpoint.server import DEDICATED, LOCATION, PROJECT, SHARED
from benchmarks.harness.models import WrongAnswerError
from pipeline.inference.endpoint.client import EndpointConfig
from pipeline.inference.endpoint.handler import EndpointModelHandler
from pipeline.inference.endpoint.retry_policy import RetryPolicy
from pipeline.options.address import PREDICT, RAW, Address
from pipeline.process import registry
from pipeline.request.messages import Request, Result, Timeline

STOCK_SHARED = "stock, shared endpoint (gRPC)"
STOCK_DEDICATED = "stock, dedicated endpoint (JSON)"
OURS_JSON = "ours, JSON predict"
OURS_RAW = "ours, raw predict"
STOCK = (STOCK_SHARED, STOCK_DEDICATED)
OURS = (OURS_JSON, OURS_RAW)

_MAX_CONCURRENCY = 32  # the default of --endpoint_max_concurrency
_RETRY_POLICY = RetryPolicy(timeout_s=30.0, deadline_s=120.0, scale_up_wait_s=600.0)  # the job's defaults


@dataclass(frozen=True)
class Side:
    """A handler with its model, as one bundle thread has them.

    Attributes:
        title: One of STOCK or OURS.
        handler: The thread's own.
        model: The process's.
        elements: Takes rows, float64 [n, width], and returns what the handler takes for them.
        answer: Takes one of the handler's results, and returns its prediction.
    """

    title: str
    handler: ModelHandler
    model: Any
    elements: Callable[[np.ndarray], list[Any]]
    answer: Callable[[Any], Any]

    def infer(self, batch: Sequence[Any]) -> list[Any]:
        """Return the handler's results, once all are there."""
        return list(self.handler.run_inference(batch, self.model))

    def batches(self, bundle: Sequence[Any]) -> list[Sequence[Any]]:
        """Return a bundle as Beam's BatchElements would cut it for this handler.

        Raises:
            ValueError: The handler's batches have no fixed size, and Beam would guess one by measuring.
        """
        sizes = self.handler.batch_elements_kwargs()
        size = sizes["max_batch_size"]
        if sizes != {"min_batch_size": size, "max_batch_size": size}:
            raise ValueError(f"{self.title}: batches are not of a fixed size: {sizes}")
        return [bundle[first : first + size] for first in range(0, len(bundle), size)]

    def for_thread(self) -> Side:
        """Return a side with an unpickled copy of the handler, as each bundle thread has one in Beam.

        The model is shared.
        """
        return replace(self, handler=pickler.loads(pickler.dumps(self.handler)))

    def check(self, rows: np.ndarray) -> None:
        """Send rows, float64 [n, width], once.

        Raises:
            WrongAnswerError: The answers are not these rows.
        """
        answers = [
            self.answer(result) for batch in self.batches(self.elements(rows)) for result in self.infer(batch)
        ]
        if np.shape(answers) != rows.shape or not np.allclose(answers, rows, atol=1e-6):
            raise WrongAnswerError(f"{self.title}: the server echoes, but not these rows came back")


class Sides:
    """Opens sides before one server, and closes their connections at the end."""

    def __init__(self, server: EndpointProcess) -> None:
        self._server = server
        self._closing = ExitStack()

    def __enter__(self) -> Sides:
        self._closing.callback(registry.close_all)
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()

    def open(self, title: str, instances: int) -> Side:
        """Return one of STOCK or OURS, with at most so many instances a call."""
        return self._ours(title, instances) if title in OURS else self._stock(title, instances)

    def _ours(self, title: str, instances: int) -> Side:
        protocol, method = (PREDICT, "predict") if title == OURS_JSON else (RAW, "rawPredict")
        name = f"projects/{PROJECT}/locations/{LOCATION}/endpoints/{SHARED}"
        address = Address(f"http://{self._server.http}/v1/{name}:{method}", needs_token=False)
        handler = EndpointModelHandler(
            EndpointConfig(address, protocol, instances, _MAX_CONCURRENCY, _RETRY_POLICY)
        )
        return Side(title, handler, handler.load_model(), _requests, _prediction)

    def _stock(self, title: str, instances: int) -> Side:
        # The handler asks there what the endpoint is, now and in load_model.
        aiplatform.init(
            api_endpoint=f"http://{self._server.http}",
            api_transport="rest",
            credentials=AnonymousCredentials(),
        )
        endpoint_id = SHARED if title == STOCK_SHARED else DEDICATED
        handler = VertexAIModelHandlerJSON(
            endpoint_id, PROJECT, LOCATION, min_batch_size=instances, max_batch_size=instances
        )
        model = handler.load_model()
        if title == STOCK_SHARED:
            channel = self._closing.enter_context(grpc.insecure_channel(self._server.grpc))
            # The SDK opens its client at the first call, over TLS, unless it finds one here.
            model._prediction_client_value = PredictionServiceClient(
                transport=PredictionServiceGrpcTransport(channel=channel)
            )
        else:
            session = self._closing.enter_context(AuthorizedSession(AnonymousCredentials()))
            session.mount("https://", _PlainAdapter())
            model.authorized_session = session
        return Side(title, handler, model, np.ndarray.tolist, _inference)


class _PlainAdapter(HTTPAdapter):
    """Sends without TLS what is addressed to https."""

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float | None, float | None] | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        proxies: dict[str, str] | None = None,
    ) -> Response:
        """Send a request by http, whatever its URL says."""
        assert request.url is not None  # for mypy: it is prepared
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, stream, timeout, verify, cert, proxies)


def _requests(rows: np.ndarray) -> list[Request]:
    return [
        Request(str(number), row.astype(np.float32), b"", {}, b"{}", Timeline())
        for number, row in enumerate(rows)
    ]


def _prediction(result: Any) -> Any:
    if not isinstance(result, Result):
        raise WrongAnswerError(f"ours: {result}")
    return result.prediction


def _inference(result: Any) -> Any:
    return result.inference
