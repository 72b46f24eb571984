"""The two sides of `benchmarks.endpoint`: stock Beam's handler and this project's, before the same server.

Stock's calls travel in two ways, and both are measured. To a shared endpoint it speaks gRPC, the SDK's
default; its REST transport takes about twice the processor time (115 ms against 60 ms for 64 × 256 numbers).
To a dedicated endpoint it posts JSON over HTTP, the cheapest that stock can do. Ours posts the same way.

Handlers and SDK run unmodified, without TLS on either side: the SDK's gRPC client gets a channel that is made
here, and the session that posts to a dedicated endpoint writes http for the https that the SDK insists on.
"""

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

from benchmarks.endpoint.process import EndpointProcess
from benchmarks.endpoint.server import DEDICATED, LOCATION, PROJECT, SHARED
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
_PATIENCE = RetryPolicy(timeout_s=30.0, deadline_s=120.0, scale_up_wait_s=600.0)  # the job's defaults


class WrongAnswerError(Exception):
    """An answer that is not the instance's own."""


@dataclass(frozen=True)
class Side:
    """A handler with its model, as one bundle thread has them.

    Attributes:
        title: one of STOCK or OURS.
        elements: what the handler takes for rows, float64 [n, width].
        answer: the prediction in one of its results.
    """

    title: str
    handler: ModelHandler
    model: Any
    elements: Callable[[np.ndarray], list[Any]]
    answer: Callable[[Any], Any]

    def infer(self, batch: Sequence[Any]) -> list[Any]:
        """The handler's results, all of them there."""
        return list(self.handler.run_inference(batch, self.model))

    def batches(self, bundle: Sequence[Any]) -> list[Sequence[Any]]:
        """A bundle as Beam's BatchElements would cut it for this handler.

        Raises:
            ValueError: its batches have no fixed size, and Beam would guess one by measuring.
        """
        kwargs = self.handler.batch_elements_kwargs()
        size = kwargs["max_batch_size"]
        if kwargs != {"min_batch_size": size, "max_batch_size": size}:
            raise ValueError(f"{self.title}: batches are not of a fixed size: {kwargs}")
        return [bundle[first : first + size] for first in range(0, len(bundle), size)]

    def for_thread(self) -> "Side":
        """With an unpickled copy of the handler, as each bundle thread has in Beam; the model is shared."""
        return replace(self, handler=pickler.loads(pickler.dumps(self.handler)))

    def check(self, rows: np.ndarray) -> None:
        """Asks for rows, float64 [n, width], once.

        Raises:
            WrongAnswerError: the answers are not these rows.
        """
        answers = [
            self.answer(result) for batch in self.batches(self.elements(rows)) for result in self.infer(batch)
        ]
        if np.shape(answers) != rows.shape or not np.allclose(answers, rows, atol=1e-6):
            raise WrongAnswerError(f"{self.title}: the server echoes, but not these rows came back")


class Sides:
    """Makes sides before one server, and closes their connections at its end."""

    def __init__(self, server: EndpointProcess) -> None:
        self._server = server
        self._closing = ExitStack()

    def __enter__(self) -> "Sides":
        self._closing.callback(registry.close_all)
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()

    def open(self, title: str, instances: int) -> Side:
        """One of STOCK or OURS, with at most so many instances a call."""
        return self._ours(title, instances) if title in OURS else self._stock(title, instances)

    def _ours(self, title: str, instances: int) -> Side:
        protocol, method = (PREDICT, "predict") if title == OURS_JSON else (RAW, "rawPredict")
        name = f"projects/{PROJECT}/locations/{LOCATION}/endpoints/{SHARED}"
        address = Address(f"http://{self._server.http}/v1/{name}:{method}", needs_token=False)
        handler = EndpointModelHandler(
            EndpointConfig(address, protocol, instances, _MAX_CONCURRENCY, _PATIENCE)
        )
        return Side(title, handler, handler.load_model(), _requests, _prediction)

    def _stock(self, title: str, instances: int) -> Side:
        # Where the handler, now and in load_model, asks what the endpoint is.
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
            # The SDK makes its client at the first call, over TLS; it keeps one that it finds.
            model._prediction_client_value = PredictionServiceClient(
                transport=PredictionServiceGrpcTransport(channel=channel)
            )
        else:
            model.authorized_session = self._closing.enter_context(_PlainSession(AnonymousCredentials()))
        return Side(title, handler, model, np.ndarray.tolist, _inference)


class _PlainSession(AuthorizedSession):
    """The session that the SDK makes itself, without TLS."""

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super().request(method, url.replace("https://", "http://", 1), *args, **kwargs)


def _requests(rows: np.ndarray) -> list[Request]:
    return [
        Request(str(number), row.astype(np.float32), b"", {}, {}, Timeline())
        for number, row in enumerate(rows)
    ]


def _prediction(result: Any) -> Any:
    if not isinstance(result, Result):
        raise WrongAnswerError(f"ours: {result}")
    return result.prediction


def _inference(result: Any) -> Any:
    return result.inference
