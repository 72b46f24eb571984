"""A stand-in for Vertex AI's front-end on this machine, for clients that know nothing but Vertex AI.

It answers what the aiplatform SDK asks of one endpoint, over real HTTP, and passes predictions on to a
container:

    with EndpointFront("http://127.0.0.1:8080") as front:
        aiplatform.init(**front.init_arguments())
        aiplatform.Endpoint(front.name).predict(instances=[[1.0, 2.0]])

Findings about the SDK (1.165) that shape this:
- `Endpoint.predict` of a shared endpoint is sent here by `api_endpoint` and `api_transport="rest"`. (Its
  default is gRPC over TLS, which is not spoken here.)
- `Endpoint.raw_predict` of a shared endpoint goes to LOCATION-aiplatform.googleapis.com, whatever
  `api_endpoint` says. Calls to a dedicated endpoint, of either kind, go to https://DNS, a name out of the
  endpoint resource: so those can be sent here, over TLS.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Coroutine
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from google.auth.credentials import AnonymousCredentials

from tests.certificates import server_context
from tests.waiting import LIMIT_S

PROJECT, LOCATION, ENDPOINT_ID = "front-project", "us-central1", "4711"
DEPLOYED_MODEL_ID = "815"
MODEL = f"projects/{PROJECT}/locations/{LOCATION}/models/12"
MODEL_NAME = "model behind the front"
MODEL_VERSION = "1"

# Above what dedicated endpoints take (10 MB), so that the container is the one to refuse.
_MAX_BODY_BYTES = 64 * 2**20
# The container's own limits are what is measured: the front must not queue calls.
_NO_LIMIT = 0


class EndpointFront:
    """One endpoint of Vertex AI on 127.0.0.1, served by a thread of its own while the context is open.

    Attributes:
        name: Full resource name of the endpoint, for `aiplatform.Endpoint`.
        url: Scheme, host and port, known inside the context.
        port: Its port.
    """

    def __init__(
        self,
        container_url: str,
        *,
        predict_route: str = "/predict",
        dedicated: bool = False,
    ) -> None:
        """Take the container's address; nothing is started yet.

        Args:
            container_url: Scheme, host and port of the container.
            predict_route: Path that predictions are posted to, both JSON and raw.
            dedicated: Be a dedicated endpoint. Such are reached by https only: all is served over TLS then,
                with a certificate that is made at start; `ca_file` verifies it.
        """
        self.name = f"projects/{PROJECT}/locations/{LOCATION}/endpoints/{ENDPOINT_ID}"
        self.url = ""
        self.port = 0
        self._target = container_url.rstrip("/") + predict_route
        self._dedicated = dedicated
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint front", daemon=True)
        self._runner: web.AppRunner | None = None
        self._client: aiohttp.ClientSession | None = None
        self._files = ExitStack()
        self._folder = Path()

    def __enter__(self) -> EndpointFront:
        self._folder = Path(self._files.enter_context(tempfile.TemporaryDirectory(prefix="front-")))
        self._thread.start()
        self._call(self._start())
        self.url = f"{'https' if self._dedicated else 'http'}://127.0.0.1:{self.port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._files.close()

    @property
    def ca_file(self) -> Path:
        """PEM file that verifies the front; `requests` takes its name from REQUESTS_CA_BUNDLE."""
        return self._folder / "certificate.pem"

    def init_arguments(self) -> dict[str, Any]:
        """Return keyword arguments for `aiplatform.init` that send the SDK here."""
        return {
            "project": PROJECT,
            "location": LOCATION,
            "api_endpoint": self.url,
            "api_transport": "rest",
            "credentials": AnonymousCredentials(),
        }

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(LIMIT_S)

    async def _start(self) -> None:
        self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_NO_LIMIT))
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_get(f"/v1/{self.name}", self._resource)
        app.router.add_post(f"/v1/{self.name}:predict", self._predict)
        app.router.add_post(f"/v1/{self.name}:rawPredict", self._raw_predict)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        context = server_context(self._folder, "127.0.0.1") if self._dedicated else None
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        if self._runner is not None:
            assert self._runner.server is not None  # for mypy: `setup` made it
            # An idle client does not answer the close of TLS, and its connection would outlive the loop.
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await self._runner.cleanup()
        if self._client is not None:
            await self._client.close()

    async def _resource(self, request: web.Request) -> web.Response:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        endpoint: dict[str, Any] = {
            "name": self.name,
            "displayName": "front",
            "createTime": now,
            "updateTime": now,
            "deployedModels": [{"id": DEPLOYED_MODEL_ID, "model": MODEL, "displayName": MODEL_NAME}],
            "trafficSplit": {DEPLOYED_MODEL_ID: 100},
        }
        if self._dedicated:
            endpoint |= {"dedicatedEndpointEnabled": True, "dedicatedEndpointDns": f"127.0.0.1:{self.port}"}
        return _json(200, endpoint)

    async def _predict(self, request: web.Request) -> web.Response:
        answer = await self._ask(request)
        if answer.status != 200:
            return answer
        assert isinstance(answer.body, bytes)  # for mypy: `_ask` made it
        return _json(
            200,
            orjson.loads(answer.body)
            | {
                "deployedModelId": DEPLOYED_MODEL_ID,
                "model": MODEL,
                "modelDisplayName": MODEL_NAME,
                "modelVersionId": MODEL_VERSION,
            },
        )

    async def _raw_predict(self, request: web.Request) -> web.Response:
        return await self._ask(request)

    async def _ask(self, request: web.Request) -> web.Response:
        """Return the container's status, Content-Type and body.

        No other header is sure to pass Vertex AI.
        """
        assert self._client is not None  # for mypy: `_start` made it
        try:
            async with self._client.post(
                self._target,
                data=await request.read(),
                headers={"Content-Type": request.headers.get("Content-Type", "application/octet-stream")},
            ) as answer:
                return web.Response(
                    status=answer.status,
                    body=await answer.read(),
                    headers={"Content-Type": answer.headers.get("Content-Type", "application/octet-stream")},
                )
        except aiohttp.ClientError as error:
            message = f"the container does not answer: {error}"
            return _json(503, {"error": {"code": 503, "message": message, "status": "UNAVAILABLE"}})


def _json(status: int, content: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json")
