"""The REST face, for gcloud and plain HTTP: protobuf's JSON on the paths of Pub/Sub's REST API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc
import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from google.protobuf import json_format

from broker.errors import InvalidArgumentError, NotFoundError, RequestError
from broker.methods import Method
from pipeline.pubsub.protos import Proto

# A Publish of 10 MB is 13.4 MB in base64; its attributes and JSON's own characters come on top.
_MAX_BODY_BYTES = 32 * 1024 * 1024

_PROJECT = r"{path:projects/[^/]+}"
_TOPIC = r"{path:projects/[^/]+/topics/[^/:]+}"
_SUBSCRIPTION = r"{path:projects/[^/]+/subscriptions/[^/:]+}"

# google/rpc/code.proto has this mapping.
_HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}


@dataclass(frozen=True)
class _Route:
    """One path of the API.

    Attributes:
        verb: The HTTP method.
        path: Behind `/v1/`.
        method: Name of the method that answers it.
        field: Field of the request, with dots, that takes the resource's name out of the path.
    """

    verb: str
    path: str
    method: str
    field: str


_ROUTES = (
    _Route("GET", f"{_PROJECT}/topics", "ListTopics", "project"),
    _Route("PUT", _TOPIC, "CreateTopic", "name"),
    _Route("GET", _TOPIC, "GetTopic", "topic"),
    _Route("PATCH", _TOPIC, "UpdateTopic", "topic.name"),
    _Route("DELETE", _TOPIC, "DeleteTopic", "topic"),
    _Route("GET", f"{_TOPIC}/subscriptions", "ListTopicSubscriptions", "topic"),
    _Route("POST", f"{_TOPIC}:publish", "Publish", "topic"),
    _Route("GET", f"{_PROJECT}/subscriptions", "ListSubscriptions", "project"),
    _Route("PUT", _SUBSCRIPTION, "CreateSubscription", "name"),
    _Route("GET", _SUBSCRIPTION, "GetSubscription", "subscription"),
    _Route("PATCH", _SUBSCRIPTION, "UpdateSubscription", "subscription.name"),
    _Route("DELETE", _SUBSCRIPTION, "DeleteSubscription", "subscription"),
    _Route("POST", f"{_SUBSCRIPTION}:acknowledge", "Acknowledge", "subscription"),
    _Route("POST", f"{_SUBSCRIPTION}:modifyAckDeadline", "ModifyAckDeadline", "subscription"),
    _Route("POST", f"{_SUBSCRIPTION}:pull", "Pull", "subscription"),
    _Route("POST", f"{_SUBSCRIPTION}:seek", "Seek", "subscription"),
)


def rest_application(methods: Mapping[str, Method]) -> web.Application:
    """Make the HTTP application that answers with the same methods as gRPC, by their names."""
    application = web.Application(client_max_size=_MAX_BODY_BYTES)
    for route in _ROUTES:
        application.router.add_route(route.verb, f"/v1/{route.path}", _handler(route, methods[route.method]))
    application.router.add_route("*", "/{path:.*}", _refuse)
    return application


def _handler(route: _Route, method: Method) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            message = await _read(request, route, method)
            return _answer(200, json_format.MessageToDict(await method.call(message)))
        except RequestError as error:
            return _error(error)

    return handle


async def _read(request: web.Request, route: _Route, method: Method) -> Proto:
    """Return the request's message: from the body, or without one from the query; the path counts most."""
    message = method.request_class()
    try:
        if route.verb in ("GET", "DELETE"):
            # The rest of a query is parameters of the API as such, as `alt=json`.
            known = {field.json_name for field in message.DESCRIPTOR.fields}
            json_format.ParseDict({key: text for key, text in request.query.items() if key in known}, message)
        else:
            json_format.ParseDict(await _body(request), message)
    except json_format.ParseError as error:
        raise InvalidArgumentError(f"this is not the JSON of a {method.name} request: {error}") from None
    *parents, last = route.field.split(".")
    owner = message
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, last, request.match_info["path"])
    return message


async def _body(request: web.Request) -> object:
    try:
        content = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise InvalidArgumentError(f"a body holds at most {_MAX_BODY_BYTES:,} bytes") from None
    # Any web page may have a browser send a form to this machine. It may not send JSON.
    if content and request.content_type != "application/json":
        raise InvalidArgumentError(
            f"the body is of type {request.content_type}: send JSON, with the header 'Content-Type: "
            "application/json'"
        )
    try:
        body = orjson.loads(content or b"{}")
    except orjson.JSONDecodeError as error:
        raise InvalidArgumentError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise InvalidArgumentError(f"the body is a JSON {type(body).__name__}: send an object")
    return body


async def _refuse(request: web.Request) -> web.Response:
    return _error(
        NotFoundError(
            f"the embedded broker has nothing at {request.method} {request.path[:200]}. It has "
            "/v1/projects/PROJECT/topics and /v1/projects/PROJECT/subscriptions, as the REST API of Pub/Sub, "
            f"with the methods {', '.join(route.method for route in _ROUTES)}"
        )
    )


def _error(error: RequestError) -> web.Response:
    code = _HTTP_STATUS[error.status]
    return _answer(code, {"error": {"code": code, "message": str(error), "status": error.status.name}})


def _answer(code: int, content: object) -> web.Response:
    return web.Response(status=code, body=orjson.dumps(content), content_type="application/json")
