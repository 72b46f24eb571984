"""The routes: health and predict, and errors in Google's shape."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.request.wire_format import JSON_TYPE
from serving.errors import Refusal, error_content, error_headers
from serving.limits import BodyBuffer, BufferedBody
from serving.model_calls import CallerGone, ModelCalls
from serving.scoreboard import State

if TYPE_CHECKING:
    from serving.predictor import Predictor  # with torch, whose import takes seconds

_LOGGER = logging.getLogger(__name__)

_MOST_OF_A_PATH = 100  # characters, in a message
_CLOSE = (b"connection", b"close")


class Service:
    """What one worker process serves.

    Attributes:
        predictor: None until the model is loaded and warm.
        bodies: Holds the bodies of calls.
    """

    def __init__(self, state: Callable[[], State], calls: ModelCalls, bodies: BodyBuffer) -> None:
        """Prepare to serve; until `predictor` is set, predictions are refused.

        Args:
            state: Returns the state of the whole container.
            calls: Runs the calls of the model.
            bodies: Holds the bodies of calls.
        """
        self.predictor: Predictor | None = None
        self._state = state
        self._calls = calls
        self.bodies = bodies

    async def health(self) -> Response:
        """Answer with 200 while the container is ready, else with 503."""
        state = self._state()
        if state is State.READY:
            return Response(orjson.dumps({"status": "ready"}), media_type=JSON_TYPE)
        return _error(503, f"the container is {state.name.lower()}")

    async def predict(self, request: Request) -> Response:
        """Answer one call; calls run one after the other, in the order in which they came.

        Raises:
            Refusal: The call is not served; the application answers with the status in it.
        """
        predictor = self.predictor
        if predictor is None:
            return _error(503, "the model is not loaded yet")
        with self.bodies.body() as buffered:
            try:
                body = await self._read(request, buffered)
                begun = time.perf_counter()
                content_type = request.headers.get("content-type", "")
                encoding = ", ".join(request.headers.getlist("content-encoding"))
                content, answered_type = await self._calls.run(
                    partial(predictor.answer, content_type, body, encoding), request.is_disconnected
                )
            except asyncio.CancelledError:
                # The server's time to finish is over; what it would answer by itself is a 500.
                return _error(503, "the container ends, and this call has not")
            except (ClientDisconnect, CallerGone):
                return Response(status_code=499)  # nginx's number for a client that is gone
        headers = {
            "Content-Type": answered_type,
            "X-Model-Id": predictor.model.model_id,
            "Server-Timing": f"total;dur={1000 * (time.perf_counter() - begun):.3f}",
        }
        if self._state() is State.DRAINING:
            # Else a pooled connection would be closed later, just when the next call is on its way.
            headers["Connection"] = "close"
        return Response(content, headers=headers)

    async def _read(self, request: Request, body: BufferedBody) -> bytes:
        length = request.headers.get("content-length")
        if length is not None and "transfer-encoding" not in request.headers:
            self.bodies.check_length(int(length))
        async for part in request.stream():
            body.add(part)
        return body.joined()


def make_app(service: Service, health_route: str, predict_route: str) -> ASGIApp:
    """Return the ASGI application of one worker process."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.add_api_route(health_route, service.health, methods=["GET"])
    app.add_api_route(predict_route, service.predict, methods=["POST"])
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(Exception, _failed)
    return partial(_close_if_framed_twice, app)


async def _close_if_framed_twice(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the application; close the connection after a call with Content-Length and Transfer-Encoding.

    A server before this one may have read the body by the other of the two, and would take the rest of it for
    the next call (RFC 9112, 6.1).
    """
    names = [name for name, _ in scope["headers"]]
    if b"transfer-encoding" not in names or b"content-length" not in names:
        await app(scope, receive, send)
        return

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [pair for pair in message["headers"] if pair[0].lower() != b"connection"]
            message = {**message, "headers": [*headers, _CLOSE]}
        await send(message)

    await app(scope, receive, send_and_close)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # for mypy: what it is registered for
    if error.status >= 500:
        _LOGGER.error("%s answered with %d: %s", request.url.path, error.status, error)
    return _error(error.status, str(error))


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # for mypy: what it is registered for
    phrase = HTTPStatus(error.status_code).phrase
    return _error(error.status_code, f"{request.method} {request.url.path[:_MOST_OF_A_PATH]}: {phrase}")


async def _failed(request: Request, error: Exception) -> Response:
    # Starlette raises it again after the answer is sent, and uvicorn logs it with its traceback.
    return _error(500, f"the server failed ({type(error).__name__}); its log says more")


def _error(status: int, message: str) -> Response:
    return Response(error_content(status, message), status, error_headers(status), JSON_TYPE)
