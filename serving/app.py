"""The routes: health and predict, and errors in Google's shape."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pipeline.request.wire_format import JSON_TYPE
from serving.predictor import Predictor
from serving.protocol import Refusal
from serving.scoreboard import State

_LOGGER = logging.getLogger(__name__)

# Whatever Vertex AI's front-end lets through is read: 10 MB to dedicated endpoints, 1.5 MB to shared ones
# (https://cloud.google.com/vertex-ai/docs/quotas). More would only fill the memory.
MAX_BODY_BYTES = 10 * 2**20

# google.rpc.Code by HTTP status, of every status that is answered here
# (https://cloud.google.com/apis/design/errors#handling_errors).
_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    406: "INVALID_ARGUMENT",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


class Service:
    """What one worker process serves.

    Attributes:
        predictor: None until the model is loaded and warm.
    """

    def __init__(self, state: Callable[[], State], model_thread: Executor) -> None:
        """Prepare to serve; until `predictor` is set, predictions are refused.

        Args:
            state: Returns the state of the whole container.
            model_thread: Runs one call at a time, off the event loop, so that health answers meanwhile.
        """
        self.predictor: Predictor | None = None
        self._state = state
        self._model_thread = model_thread
        self._turn = asyncio.Lock()

    async def health(self) -> Response:
        """Answer with 200 while the container is ready, else with 503."""
        state = self._state()
        if state is State.READY:
            return _json(200, {"status": "ready"})
        return _error(503, f"the container is {state.name.lower()}")

    async def predict(self, request: Request) -> Response:
        """Answer one call; calls run one after the other, in the order in which they came.

        Raises:
            Refusal: The call is not served; the application answers with the status in it.
        """
        predictor = self.predictor
        if predictor is None:
            return _error(503, "the model is not loaded yet")
        try:
            body = await _body(request)
        except ClientDisconnect:
            return _client_gone()
        begun = time.perf_counter()
        waits = self._turn.locked()
        async with self._turn:
            if waits and await request.is_disconnected():
                # The client gave up while it waited: its predictions would only keep the others waiting.
                return _client_gone()
            content, content_type = await asyncio.get_running_loop().run_in_executor(
                self._model_thread, predictor.answer, request.headers.get("content-type", ""), body
            )
        headers = {
            "Content-Type": content_type,
            "X-Model-Id": predictor.model.model_id,
            "Server-Timing": f"total;dur={1000 * (time.perf_counter() - begun):.3f}",
        }
        if self._state() is State.DRAINING:
            # Else a pooled connection would be closed later, just when the next call is on its way.
            headers["Connection"] = "close"
        return Response(content, headers=headers)


def make_app(service: Service, health_route: str, predict_route: str) -> FastAPI:
    """Return the ASGI application of one worker process."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.add_api_route(health_route, service.health, methods=["GET"])
    app.add_api_route(predict_route, service.predict, methods=["POST"])
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(Exception, _failed)
    return app


async def _body(request: Request) -> bytes:
    length = 0
    chunks = []
    async for chunk in request.stream():
        length += len(chunk)
        if length > MAX_BODY_BYTES:
            raise Refusal(413, f"the body is too large: at most {MAX_BODY_BYTES} bytes are taken")
        chunks.append(chunk)
    return b"".join(chunks)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # for mypy: what it is registered for
    if error.status >= 500:
        _LOGGER.error("%s answered with %d: %s", request.url.path, error.status, error)
    return _error(error.status, str(error))


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # for mypy: what it is registered for
    phrase = HTTPStatus(error.status_code).phrase
    return _error(error.status_code, f"{request.method} {request.url.path}: {phrase}")


async def _failed(request: Request, error: Exception) -> Response:
    # Starlette raises it again after the answer is sent, and uvicorn logs it with its traceback.
    return _error(500, f"the server failed ({type(error).__name__}); its log says more")


def _client_gone() -> Response:
    return Response(status_code=499)  # nginx's number for it


def _error(status: int, message: str) -> Response:
    return _json(status, {"error": {"code": status, "message": message, "status": _CODES[status]}})


def _json(status: int, content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type=JSON_TYPE)
