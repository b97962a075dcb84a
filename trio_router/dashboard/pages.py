"""`/dashboard`: the page, its files, its event stream, the way in, and the stop button's request."""

from __future__ import annotations

import logging
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from trio_router.api.admin_acts import NOBODY, noted
from trio_router.api.reply import Reply, json_reply
from trio_router.api.table import EndpointRow
from trio_router.dashboard.feed import Board, WatchReply
from trio_router.dialects.chat_request import parse_object
from trio_router.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    RequestTooLarge,
    TooManyGuesses,
    Unauthorized,
)
from trio_router.policy.admins import is_same_origin, no_cookie

if TYPE_CHECKING:
    from trio_router.api.admin_acts import AdminEndpoint
    from trio_router.api.request import ClientRequest
    from trio_router.api.table import Endpoint, EndpointRows

logger = logging.getLogger("trio_router")
ROOT = "/dashboard"
ADMIN_BELOW = f"{ROOT}/admin"  # the administrators' API, where the page's cookie is sent
_MAX_FORM = 4096  # bytes
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_HTML = "text/html; charset=utf-8"


class Dashboard:
    """The endpoints of the live page."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._files = {
            item.name: item.read_bytes()
            for item in (files("trio_router") / "dashboard" / "static").iterdir()
        }

    def rows(self) -> EndpointRows:
        """What is answered, by method and path."""
        named = {
            ("GET", ROOT): EndpointRow(partial(self._page, "index.html"), is_booked=False),
            ("GET", f"{ROOT}/money"): EndpointRow(partial(self._page, "money.html"), is_booked=False),
            ("GET", f"{ROOT}/events"): EndpointRow(self.events, is_booked=False, is_endless=True),
            ("POST", f"{ROOT}/stop"): EndpointRow(self.stop, is_booked=False),
            ("POST", f"{ROOT}/login"): EndpointRow(self.login, is_booked=False),
            ("POST", f"{ROOT}/logout"): EndpointRow(self.logout, is_booked=False),
        }
        for name in self._files:
            suffix = f".{name.rpartition('.')[2]}"
            if suffix in _KINDS:
                file = partial(self._file, name, _KINDS[suffix])
                named["GET", f"{ROOT}/{name}"] = EndpointRow(file, is_booked=False)
        return named

    def guarded(self, endpoint: Endpoint) -> Endpoint:
        """`endpoint`, for those who may see the dashboard."""

        async def answer(asked: ClientRequest) -> Reply:
            self._admit(asked)
            return await endpoint(asked)

        return answer

    def known(self, endpoint: AdminEndpoint) -> Endpoint:
        """`endpoint`, for the same people; it is told who asks."""

        async def answer(asked: ClientRequest) -> Reply:
            return await endpoint(asked, self._admit(asked) or NOBODY)

        return answer

    async def _page(self, name: str, asked: ClientRequest) -> Reply:
        """A page, or the login form."""
        try:
            self._admit(asked)
        except Unauthorized:
            return self._form(200)
        except Forbidden as error:
            return self._form(403, error.message)
        page = self._files[name]
        if asked.generation.admins.has_keys:
            page = page.replace(b'<form id="logout" hidden', b'<form id="logout"')
        return _reply(page, _HTML)

    async def events(self, asked: ClientRequest) -> Reply:
        """The server-sent events that the page lives on."""
        self._admit(asked)
        headers = {
            **_HEADERS,
            "content-type": "text/event-stream; charset=utf-8",
            "x-accel-buffering": "no",
        }
        return Reply(200, headers, stream=WatchReply(self._board, await asked.tasks.nursery()))

    async def stop(self, asked: ClientRequest) -> Reply:
        """Ends one live request: `{"worker", "number", "request_id"}`."""
        who = self._admit(asked)
        self._refuse_other_origins(asked)
        body = parse_object(await _small_body(asked))
        worker, number = (_integer(body, name) for name in ("worker", "number"))
        request_id = body.get("request_id")
        if not isinstance(request_id, str):
            raise InvalidRequest("request_id must be a string", param="request_id")
        is_stopped = await self._board.stop(worker, number, request_id)
        fields = {"stopped": request_id, "by": who, "found": is_stopped}
        logger.warning("an operator stopped a request", extra={"fields": fields})
        if not is_stopped:
            raise NotFound("this request has ended already")
        await noted(asked.router, who or NOBODY, "request.stop", request_id)
        reply = json_reply({"stopped": True})
        reply.headers |= _HEADERS
        return reply

    async def login(self, asked: ClientRequest) -> Reply:
        """Checks the form's key, and sets the cookie."""
        self._refuse_other_origins(asked)
        form = parse_qs((await _small_body(asked)).decode("utf-8", "surrogateescape"))
        key = "".join(form.get("key", ())).strip()
        try:
            name = asked.generation.admins.check(key, asked.link.client)
        except TooManyGuesses as error:
            reply = self._form(
                error.status, "Too many wrong keys came from your address: wait a little."
            )
            reply.headers["retry-after"] = str(error.retry_after)
            return reply
        if name is None:
            return self._form(401, "This is not an admin key.")
        logger.info("an operator has come", extra={"fields": {"operator": name}})
        return _back(asked.generation.admins.cookie(name, is_secure=asked.link.is_secure))

    async def logout(self, asked: ClientRequest) -> Reply:
        self._refuse_other_origins(asked)
        return _back(no_cookie(is_secure=asked.link.is_secure))

    async def _file(self, name: str, kind: str, asked: ClientRequest) -> Reply:
        # For everyone: the login form needs its style, and the files hold nothing secret.
        return _reply(self._files[name], kind)

    def _form(self, status: int, message: str = "") -> Reply:
        """The login form; only a message if no key would help."""
        page = self._files["login.html"].replace(b"{{message}}", message.encode())
        if status == 403:
            page = page.replace(b'<form method="post"', b'<form hidden method="post"')
        return _reply(page, _HTML, status)

    def _admit(self, asked: ClientRequest) -> str | None:
        name = asked.generation.admins.admit(
            authorization=_header(asked, b"authorization"),
            cookies=_header(asked, b"cookie"),
            server=asked.link.server,
            client=asked.link.client,
        )
        asked.admitted()
        return name

    def _refuse_other_origins(self, asked: ClientRequest) -> None:
        """A page of another site must not be able to do anything here with its visitor's cookie."""
        if _header(asked, b"authorization"):
            return  # no browser sends it by itself
        if not is_same_origin(
            site=_header(asked, b"sec-fetch-site"),
            origin=_header(asked, b"origin"),
            host=_header(asked, b"host"),
        ):
            raise Forbidden("only the dashboard itself may ask for this")


async def _small_body(asked: ClientRequest) -> bytes:
    length = _header(asked, b"content-length")
    if not length.isdecimal() or int(length) > _MAX_FORM:
        raise RequestTooLarge(f"a body of known length, of at most {_MAX_FORM} bytes, is expected")
    return bytes(await asked.body.read())


def _header(asked: ClientRequest, name: bytes) -> str:
    return asked.header(name).decode("latin-1")


def _integer(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(f"{name} must be an integer", param=name)
    return value


def _reply(body: bytes, kind: str, status: int = 200) -> Reply:
    return Reply(status, {**_HEADERS, "content-type": kind}, body)


def _back(cookie: str) -> Reply:
    return Reply(303, {**_HEADERS, "location": ROOT, "set-cookie": cookie})
