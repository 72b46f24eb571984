"""The routes: health, metrics and predictions."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from math import isfinite

import orjson

from serving.call_batcher import CallBatcher
from serving.errors import Refusal
from serving.exchange import Answer, Exchange
from serving.exposition import CONTENT_TYPE, exposition
from serving.failure_log import FailureLog
from serving.limits import BodyBuffer
from serving.metrics import Metrics, Tally
from serving.model_call import ModelCall
from serving.scoreboard import State

METRICS_ROUTE = "/metrics"

_MOST_OF_A_PATH = 100  # characters, in a message


class Service:
    """What one worker process serves; a `serving.handler.Handler`.

    Attributes:
        loaded: Whether the model is loaded and warm; predictions are refused until then.
        bodies: Holds the bodies of calls.
    """

    def __init__(
        self,
        state: Callable[[], State],
        calls: CallBatcher,
        bodies: BodyBuffer,
        metrics: Metrics,
        tally: Tally,
        failures: FailureLog,
        health_route: str,
        predict_route: str,
    ) -> None:
        """Prepare to serve.

        Args:
            state: Returns the state of the whole container.
            calls: Answers the predictions.
            bodies: Holds the bodies of calls.
            metrics: Of the whole container.
            tally: Of this process.
            failures: Logs the calls that fail through no fault of theirs.
            health_route: Path of the health checks.
            predict_route: Path of the predictions.
        """
        self.loaded = False
        self.bodies = bodies
        self._state = state
        self._calls = calls
        self._health_route = health_route
        self._predict_route = predict_route
        self._metrics = metrics
        self._tally = tally
        self._failures = failures
        # Where Vertex AI's routes are the same, they count.
        read = ("GET", "HEAD")
        self._methods = {METRICS_ROUTE: read, health_route: read, predict_route: ("POST",)}
        # Most targets are a route as it is, and need not be taken apart.
        self._routes = {route.encode(): route for route in self._methods}

    @property
    def draining(self) -> bool:
        """See `serving.handler.Handler`."""
        # Else a pooled connection would be closed later, just when the next call is on its way.
        return self._state() is State.DRAINING

    def begin(self, exchange: Exchange) -> None:
        """See `serving.handler.Handler`."""
        path = self._routes.get(exchange.target) or exchange.path
        methods = self._methods.get(path)
        if methods is None:
            raise Refusal(404, _not_routed(exchange.method, path, 404))
        if exchange.method not in methods:
            raise Refusal(405, _not_routed(exchange.method, path, 405), {"Allow": ", ".join(methods)})
        if path == self._predict_route:
            if not self.loaded:
                raise Refusal(503, "the model is not loaded yet")
            length = exchange.header(b"content-length")
            if length:
                self.bodies.check_length(int(length))
            exchange.body = self.bodies.body()

    def handle(self, exchange: Exchange) -> Answer | None:
        """See `serving.handler.Handler`."""
        if exchange.body is None:
            if exchange.path == self._health_route:
                return self._health()
            return Answer(200, exposition(self._metrics.totals()), CONTENT_TYPE)
        now = time.monotonic()
        self._calls.submit(ModelCall(exchange, exchange.body.joined(), now, _deadline(exchange, now)))
        return None

    def answered(self, exchange: Exchange, answer: Answer) -> None:
        """See `serving.handler.Handler`."""
        self._tally.answered(answer.status, answer.reason)
        if answer.status >= 500:
            self._failures.note(exchange.path[:_MOST_OF_A_PATH], answer)

    def left(self) -> None:
        """See `serving.handler.Handler`."""
        self._tally.left()

    def _health(self) -> Answer:
        state = self._state()
        if state is State.READY:
            return Answer(200, orjson.dumps({"status": "ready"}))
        return Answer.of(Refusal(503, f"the container is {state.name.lower()}"))


def _deadline(exchange: Exchange, now: float) -> float | None:
    """Return when the client gives up, by the header that Google's clients tell it with; None if unknown.

    It is a number of seconds (https://cloud.google.com/apis/docs/system-parameters). Another text is ignored.
    """
    text = exchange.first(b"x-server-timeout")
    if not text:
        return None
    try:
        timeout_s = float(text)
    except ValueError:
        return None
    return now + timeout_s if isfinite(timeout_s) else None


def _not_routed(method: str, path: str, status: int) -> str:
    return f"{method} {path[:_MOST_OF_A_PATH]}: {HTTPStatus(status).phrase}"
