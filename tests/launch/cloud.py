"""Google Cloud's REST APIs on loopback, as far as launching uses them; the real gcloud talks to it."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.waiting import LIMIT_S

PROJECT = "shop-project"
REGION = "us-central1"
JOB_ID = "2026-01-02_03_04_05-678901234567890123"
# The running job, as the summary of it is.
JOB = {
    "id": JOB_ID,
    "projectId": PROJECT,
    "location": REGION,
    "name": "inference",
    "type": "JOB_TYPE_STREAMING",
    "currentState": "JOB_STATE_RUNNING",
    "createTime": "2026-01-02T03:04:05.678901Z",
    "currentStateTime": "2026-01-02T03:06:05.678901Z",
}

_LOCATION = rf"projects/{PROJECT}/locations/{REGION}"
_DATAFLOW = rf"/v1b3/{_LOCATION}"
_AIPLATFORM = rf"/v1(?:beta1)?/{_LOCATION}"
_STATES = {"JOB_STATE_DRAINED": "JOB_STATE_DRAINING", "JOB_STATE_CANCELLED": "JOB_STATE_CANCELLING"}
_REASONS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


@dataclass(frozen=True)
class Request:
    """One call.

    Attributes:
        path: Without the query.
        query: Values by name.
        body: From JSON; {} if there is none.
        token: The Authorization header.
        quota_project: The x-goog-user-project header.
    """

    method: str
    path: str
    query: Mapping[str, list[str]]
    body: Any
    token: str | None
    quota_project: str | None


@dataclass(frozen=True)
class Answer:
    method: str
    path: re.Pattern[str]
    status: int
    body: Callable[[Request], Any]


class Cloud:
    """Records each call and answers it by the newest answer for its method and path; 404 where there is none.

    Answers for what the launch commands do are there from the start: one running job (JOB_ID), an empty
    endpoint "1" with a dedicated address, and operations that have ended.

    Attributes:
        requests: Every call, in the order of arrival.
        address: Such as http://127.0.0.1:12345
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._answers: list[Answer] = []
        self._lock = threading.Lock()
        self._add_dataflow()
        self._add_aiplatform()
        self._add_pubsub()

    def __enter__(self) -> Cloud:
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body leave in two segments; without this the second waits for an acknowledgement.
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                status, body = cloud._serve(self, self.rfile.read(length))
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json; charset=UTF-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

            def log_message(self, format: str, *args: object) -> None:
                """Quiet: `requests` has it all."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join(LIMIT_S)
        self._server.server_close()

    def environment(self, folder: Path) -> dict[str, str]:
        """Return what makes gcloud call this server; `folder` gets its settings, caches and a token."""
        token = folder / "token"
        token.write_text("not-a-token\n")
        settings = folder / "gcloud"
        settings.mkdir(exist_ok=True)
        paths = {
            "DATAFLOW": "/",
            "AIPLATFORM": "/",
            "PUBSUB": "/",
            "ARTIFACTREGISTRY": "/",
            "CLOUDBUILD": "/",
            "LOGGING": "/",
            "MONITORING": "/",
            "STORAGE": "/storage/v1/",
        }
        return {
            **{
                f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": self.address + path for name, path in paths.items()
            },
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
            "CLOUDSDK_CONFIG": str(settings),
            "CLOUDSDK_CORE_PROJECT": PROJECT,
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
            # A proxy of the machine must not stand between gcloud and loopback.
            "no_proxy": ",".join(filter(None, [os.environ.get("no_proxy"), "127.0.0.1"])),
        }

    def answer(self, method: str, path: str, body: Any, status: int = 200) -> None:
        """From now on, answer `method` on paths that match the whole regular expression `path`.

        `body`: what is sent as JSON, or a function that makes it from the Request.
        """
        make = body if callable(body) else lambda request: body
        with self._lock:
            self._answers.append(Answer(method, re.compile(path), status, make))

    def refuse(self, method: str, path: str, status: int, message: str) -> None:
        """From now on, answer with an error as Google's APIs send it."""
        self.answer(method, path, _error(status, message), status)

    def sent(self, method: str, path: str) -> list[Request]:
        """Return the calls so far whose whole path matches the regular expression."""
        with self._lock:
            return [r for r in self.requests if r.method == method and re.fullmatch(path, r.path)]

    def _serve(self, handler: BaseHTTPRequestHandler, data: bytes) -> tuple[int, Any]:
        address = urlsplit(handler.path)
        try:
            body = json.loads(data) if data else {}
        except ValueError:  # an upload of a file
            body = data.decode("utf-8", "replace")
        request = Request(
            handler.command,
            address.path,
            parse_qs(address.query),
            body,
            handler.headers["Authorization"],
            handler.headers["x-goog-user-project"],
        )
        with self._lock:
            self.requests.append(request)
            answers = list(self._answers)
        for answer in reversed(answers):
            if answer.method == request.method and answer.path.fullmatch(request.path):
                return answer.status, answer.body(request)
        return 404, _error(404, f"{request.method} {request.path}: nothing is there")

    def _add_dataflow(self) -> None:
        environment = {
            "streamingMode": "STREAMING_MODE_AT_LEAST_ONCE",
            "serviceOptions": ["streaming_mode_at_least_once"],
            "experiments": ["enable_streaming_engine", "streaming_mode_at_least_once"],
        }

        def described(request: Request) -> dict[str, Any]:
            # As the service documents its views: the summary, which gcloud asks for by default, lacks it.
            whole = request.query.get("view") == ["JOB_VIEW_ALL"]
            return {**JOB, "environment": environment} if whole else JOB

        def changed(request: Request) -> dict[str, Any]:
            wanted = request.body.get("requestedState")
            return {**JOB, **request.body, "currentState": _STATES.get(wanted, JOB["currentState"])}

        def launched(request: Request) -> dict[str, Any]:
            name = request.body["launchParameter"]["jobName"]
            return {"job": {**JOB, "name": name, "currentState": "JOB_STATE_QUEUED"}}

        self.answer("POST", rf"{_DATAFLOW}/flexTemplates:launch", launched)
        self.answer("GET", rf"{_DATAFLOW}/jobs/[^/]+", described)
        self.answer("PUT", rf"{_DATAFLOW}/jobs/[^/]+", changed)
        self.answer("GET", rf"{_DATAFLOW}/jobs", {"jobs": [JOB]})
        self.answer("GET", rf"/v1b3/projects/{PROJECT}/jobs(:aggregated)?", {"jobs": [JOB]})
        self.answer("GET", rf"{_DATAFLOW}/jobs/[^/]+/metrics", {"metrics": []})
        self.answer("GET", rf"{_DATAFLOW}/jobs/[^/]+/messages", {"jobMessages": []})

    def _add_aiplatform(self) -> None:
        def ended(name: str, response: Mapping[str, Any]) -> dict[str, Any]:
            return {
                "name": f"projects/1/locations/{REGION}/operations/{name}",
                "done": True,
                "response": response,
            }

        model = {"name": f"projects/1/locations/{REGION}/models/7", "model": f"{_LOCATION}/models/7"}
        endpoint = {
            "name": f"projects/1/locations/{REGION}/endpoints/1",
            "displayName": "inference",
            "dedicatedEndpointEnabled": True,
            "dedicatedEndpointDns": f"1.{REGION}-1.prediction.vertexai.goog",
        }
        resources = {"supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES"]}
        self.answer("POST", rf"{_AIPLATFORM}/models:upload", ended("upload", model))
        self.answer("GET", rf"{_AIPLATFORM}/models/[^/]+", {**model, **resources})
        self.answer("DELETE", rf"{_AIPLATFORM}/models/[^/]+", ended("delete-model", {}))
        self.answer("POST", rf"{_AIPLATFORM}/endpoints", ended("create", endpoint))
        self.answer("GET", rf"{_AIPLATFORM}/endpoints/[^/:]+", endpoint)
        self.answer("GET", rf"{_AIPLATFORM}/endpoints", {"endpoints": [endpoint]})
        self.answer("DELETE", rf"{_AIPLATFORM}/endpoints/[^/:]+", ended("delete", {}))
        self.answer(
            "POST",
            rf"{_AIPLATFORM}/endpoints/[^/]+:deployModel",
            ended("deploy", {"deployedModel": {"id": "5"}}),
        )
        self.answer(
            "POST", rf"{_AIPLATFORM}/endpoints/[^/]+:(undeployModel|mutateDeployedModel)", ended("x", {})
        )
        self.answer(
            "GET", rf"/v1(?:beta1)?/projects/[^/]+/locations/{REGION}/operations/[^/]+", ended("x", {})
        )

    def _add_pubsub(self) -> None:
        for kind in ("topics", "subscriptions"):
            path = rf"/v1/projects/{PROJECT}/{kind}/[^/]+"
            self.answer(
                "PUT", path, lambda request: {**request.body, "name": request.path.removeprefix("/v1/")}
            )
            self.answer("DELETE", path, {})


def _error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": _REASONS[status]}}
