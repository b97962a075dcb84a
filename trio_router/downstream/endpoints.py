"""What clients can ask for: parse, hand to the exchange, answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from quart import Response, current_app, request

from trio_router.dialects.chat_request import parse_chat_request
from trio_router.downstream.connection import RelayConnection, RelayResponse
from trio_router.errors import Draining, RouterError
from trio_router.jsoncodec import dumps

if TYPE_CHECKING:
    from trio_router.downstream.app import RouterApp
    from trio_router.relay.router import Router
    from trio_router.routing.table import Target

_STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


def register(app: RouterApp) -> None:
    """Puts every endpoint on the application."""
    app.add_url_rule("/v1/chat/completions", view_func=chat_completions, methods=["POST"])
    app.add_url_rule("/v1/models", view_func=models, methods=["GET"])
    app.add_url_rule("/v1/models/<path:name>", view_func=model, methods=["GET"])
    app.add_url_rule("/healthz", view_func=healthz, methods=["GET"])
    app.add_url_rule("/readyz", view_func=readyz, methods=["GET"])
    app.add_url_rule("/metrics", view_func=metrics, methods=["GET"])


async def chat_completions() -> Response:
    connection = this_connection()
    _authenticate(connection)
    if _router().is_draining:
        raise Draining("the router is shutting down", retry_after="5")
    body = parse_chat_request(await connection.body.read())
    connection.record.is_stream = bool(body.get("stream"))
    target = _router().table.resolve(body["model"])
    exchange = connection.exchange
    if not body.get("stream"):
        answer = await exchange.whole(target, body)
        headers = {"content-type": "application/json", **_origin(connection, target)}
        return Response(answer, headers=headers)
    reply = await exchange.stream(target, body)
    response = RelayResponse(headers={**_STREAM_HEADERS, **_origin(connection, target)})
    response.headers.pop("content-length", None)
    response.reply = reply
    return response


async def models() -> Response:
    _authenticate(this_connection())
    names = _router().table.names()
    return json_response({"object": "list", "data": [_model(name) for name in names]})


async def model(name: str) -> Response:
    _authenticate(this_connection())
    return json_response(_model(_router().table.resolve(name).name))


async def healthz() -> Response:
    return json_response({"status": "ok"})


async def readyz() -> Response:
    router = _router()
    if router.is_draining or not router.is_ready:
        return json_response({"status": "draining" if router.is_draining else "starting"}, 503)
    return json_response({"status": "ready"})


async def metrics() -> Response:
    return Response(_router().metrics.render(), content_type="text/plain; version=0.0.4; charset=utf-8")


def json_response(value: Any, status: int = 200) -> Response:
    return Response(dumps(value), status=status, content_type="application/json")


def error_response(error: RouterError) -> Response:
    """The answer that tells of `error`, and its mark in the request's record."""
    connection = this_connection()
    connection.exchange.failed(error)
    response = json_response(error.body(), error.status)
    if error.retry_after is not None:
        response.headers["retry-after"] = error.retry_after
    if connection.record.attempts:
        record = connection.record
        response.headers["x-trio-router-target"] = f"{record.provider}/{record.model}"
        response.headers["x-trio-router-attempts"] = str(record.attempts)
    return response


def _authenticate(connection: RelayConnection) -> None:
    server = connection.scope.get("server")
    connection.record.key = cast("RouterApp", current_app).authenticator.check(
        request.headers.get("authorization"), server[0] if server else None
    )


def _origin(connection: RelayConnection, target: Target) -> dict[str, str]:
    return {
        "x-trio-router-target": target.name,
        "x-trio-router-attempts": str(connection.record.attempts),
    }


def _model(name: str) -> dict[str, Any]:
    owner = name.partition("/")[0]
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}


def this_connection() -> RelayConnection:
    return cast("RelayConnection", request.scope["trio_router"])  # type: ignore[typeddict-item]


def _router() -> Router:
    return cast("RouterApp", current_app).router
