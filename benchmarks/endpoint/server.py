"""`python -m benchmarks.endpoint.server`: an endpoint on loopback that costs next to nothing to call.

It answers, without a proxy in between, every way by which the job and Vertex AI's own SDK call an endpoint:
`:predict` and `:rawPredict` over HTTP, PredictionService.Predict over gRPC (without TLS), and the endpoint's
description, which stock's handler asks for. Its model is the identity, so that a mixed-up row shows.

All share one capacity: a call takes a fixed time, a fixed number is served at once, the others queue.
PUT /config sets the capacity and begins new counts. GET /counts returns the counts.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import grpc
import orjson
from aiohttp import web
from google.cloud.aiplatform_v1.types import PredictRequest, PredictResponse
from google.protobuf.message import Message

PROJECT, LOCATION = "benchmark", "us-central1"
SHARED, DEDICATED = "1", "2"  # ids of the two kinds of public endpoints
LISTENING = "endpoint listening on"  # what the server prints, before its addresses

_ENDPOINT = f"/v1/projects/{PROJECT}/locations/{LOCATION}/endpoints/{{id:[0-9]+}}"
_PREDICT_METHOD = "/google.cloud.aiplatform.v1.PredictionService/Predict"
_FLOAT32 = "application/x-float32"
_DEPLOYED_MODEL_ID = "1234567890"
_MOST_BYTES = 16 << 20
_REFUSAL = "the endpoint is full"

_Call = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class ServerConfig:
    """How the server serves.

    Attributes:
        call_s: Seconds that a call takes.
        concurrency: Calls served at once.
        refusals: Of the next calls, so many are answered 429, without delay.
        width: float32 of one instance, for raw bodies.
    """

    call_s: float = 0.0
    concurrency: int = 32
    refusals: int = 0
    width: int = 256


@dataclass
class Counts:
    """Calls since the config was set. Peaks are of calls at one moment.

    Attributes:
        instances: Of the calls served.
        in_flight_peak: Of calls served or queued.
        serving_peak: Of calls served.
    """

    served: int = 0
    refused: int = 0
    instances: int = 0
    in_flight_peak: int = 0
    serving_peak: int = 0


class FullError(Exception):
    """The call is answered 429."""


class Capacity:
    """Serves as many calls at once as its config says, each for as long as that says."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.counts = Counts()
        self._left_to_refuse = config.refusals
        self._places = asyncio.Semaphore(config.concurrency)
        self._in_flight = 0
        self._serving = 0

    async def serve(self, instances: int) -> None:
        """Return once a call of so many instances has been served.

        Raises:
            FullError: The call is one of those to refuse.
        """
        counts = self.counts
        if self._left_to_refuse:
            self._left_to_refuse -= 1
            counts.refused += 1
            raise FullError(_REFUSAL)
        self._in_flight += 1
        counts.in_flight_peak = max(counts.in_flight_peak, self._in_flight)
        try:
            async with self._places:
                self._serving += 1
                counts.serving_peak = max(counts.serving_peak, self._serving)
                try:
                    await asyncio.sleep(self.config.call_s)
                finally:
                    self._serving -= 1
        finally:
            self._in_flight -= 1
        counts.served += 1
        counts.instances += instances


class EndpointServer:
    """The routes of both protocols over one capacity."""

    def __init__(self) -> None:
        self._capacity = Capacity(ServerConfig())

    def http_routes(self) -> web.Application:
        """Return the HTTP protocols, and the routes for the config and the counts."""
        app = web.Application(client_max_size=_MOST_BYTES)
        app.add_routes(
            [
                web.get(_ENDPOINT, self._describe),
                web.post(f"{_ENDPOINT}:predict", self._predict),
                web.post(f"{_ENDPOINT}:rawPredict", self._raw_predict),
                web.put("/config", self._put_config),
                web.get("/counts", self._get_counts),
            ]
        )
        return app

    def grpc_methods(self) -> grpc.GenericRpcHandler:
        """Return the gRPC protocol."""
        method = grpc.unary_unary_rpc_method_handler(
            self._predict_grpc,
            request_deserializer=PredictRequest.pb().FromString,
            response_serializer=PredictResponse.pb().SerializeToString,
        )
        service, _, name = _PREDICT_METHOD.removeprefix("/").partition("/")
        return grpc.method_handlers_generic_handler(service, {name: method})

    async def _describe(self, request: web.Request) -> web.Response:
        endpoint_id = request.match_info["id"]
        dedicated = endpoint_id == DEDICATED
        return web.json_response(
            {
                "name": f"projects/{PROJECT}/locations/{LOCATION}/endpoints/{endpoint_id}",
                "createTime": "2025-01-01T00:00:00Z",
                "deployedModels": [{"id": _DEPLOYED_MODEL_ID}],
                "dedicatedEndpointEnabled": dedicated,
                "dedicatedEndpointDns": request.host if dedicated else "",
            }
        )

    async def _predict(self, request: web.Request) -> web.Response:
        instances = orjson.loads(await request.read())["instances"]
        try:
            await self._capacity.serve(len(instances))
        except FullError as error:
            return _refusal(error)
        answer = {"predictions": instances, "deployedModelId": _DEPLOYED_MODEL_ID}
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    async def _raw_predict(self, request: web.Request) -> web.Response:
        body = await request.read()
        width = self._capacity.config.width
        rows = len(body) // (4 * width)
        try:
            await self._capacity.serve(rows)
        except FullError as error:
            return _refusal(error)
        headers = {
            "Content-Type": f"{_FLOAT32}; shape={rows}x{width}",
            "X-Vertex-AI-Deployed-Model-Id": _DEPLOYED_MODEL_ID,
        }
        return web.Response(body=body, headers=headers)

    async def _predict_grpc(self, request: Message, context: grpc.aio.ServicerContext) -> Message:
        try:
            await self._capacity.serve(len(request.instances))
        except FullError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        return PredictResponse.pb()(predictions=request.instances, deployed_model_id=_DEPLOYED_MODEL_ID)

    async def _put_config(self, request: web.Request) -> web.Response:
        self._capacity = Capacity(ServerConfig(**orjson.loads(await request.read())))
        return web.Response()

    async def _get_counts(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self._capacity.counts))


def _refusal(error: FullError) -> web.Response:
    body = {"error": {"code": 429, "message": str(error), "status": "RESOURCE_EXHAUSTED"}}
    return web.json_response(body, status=429)


async def serve() -> None:
    """Serve on free ports of 127.0.0.1, print them, and end at SIGTERM or SIGINT."""
    server = EndpointServer()
    # gRPC's own limit is 4 MB.
    calls = grpc.aio.server(options=[("grpc.max_receive_message_length", _MOST_BYTES)])
    calls.add_generic_rpc_handlers((server.grpc_methods(),))
    grpc_port = calls.add_insecure_port("127.0.0.1:0")
    await calls.start()
    runner = web.AppRunner(server.http_routes(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    http_port = runner.addresses[0][1]
    print(f"{LISTENING} 127.0.0.1:{http_port} 127.0.0.1:{grpc_port}", flush=True)
    await stop.wait()
    await calls.stop(None)
    await runner.cleanup()


if __name__ == "__main__":
    sys.exit(asyncio.run(serve()))
