"""One request of a client: its record, its nursery, its exchange, its answer."""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import parse_qsl

import trio

from trio_router.api.azure import AZURE, azure_path
from trio_router.api.reply import Reply, error_reply
from trio_router.dialects import APIS
from trio_router.dialects.gemini.client import KEY_HEADER, VERSIONS
from trio_router.errors import ClientStalled, InternalError, RouterError
from trio_router.observe.record import RequestRecord
from trio_router.relay.exchange import Exchange
from trio_router.relay.tasks import RequestTasks
from trio_router.server.body_coding import CONTENT_ENCODING, BodyCoding
from trio_router.server.seats import current_seat
from trio_router.wire.written import unheard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trio_router.ledger.accounts import Key
    from trio_router.policy.origins import Origins
    from trio_router.relay.stream import StreamReply
    from trio_router.routing.route import Route
    from trio_router.routing.target import Target
    from trio_router.runtime.generation import Generation
    from trio_router.runtime.router import Router
    from trio_router.server.link import Headers, Link
    from trio_router.server.seats import Seat

    Endpoint = Callable[["ClientRequest"], Awaitable[Reply]]
    Parsed = TypeVar("Parsed")

logger = logging.getLogger("trio_router")
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_KEYS = (b"x-api-key", b"api-key", KEY_HEADER)  # as Anthropic's, Azure's and Google's clients send it
_MODELS = "/v1/models"  # whose answers have the shape of the API whose header a request has
_KEYED_BY_QUERY = (*VERSIONS, _MODELS)
_DRAIN_SECONDS = 5  # for the rest of a body whose request is refused already


class Found(Protocol):
    """What the table has for a request; see `table.EndpointRow`."""

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def is_booked(self) -> bool: ...


class ApiApp(Protocol):
    """What requests are answered by."""

    router: Router

    def origins(self, generation: Generation) -> Origins:
        """Which web pages may ask, and by which names."""
        ...

    def row_of(self, method: str, path: str) -> Found:
        """What answers; its endpoint raises RouterError where nothing does."""
        ...


class ClientRequest:
    """Answers the request that came in on `link`."""

    exchange: Exchange
    generation: Generation  # kept to the request's end, whatever is configured meanwhile
    account: Key | None = None  # whose request it is, where anything depends on it

    def __init__(self, app: ApiApp, link: Link) -> None:
        self.app = app
        self.router = app.router
        self.link = link
        self.path = link.path  # of the endpoint; the client's own may say the same in other words
        self.named_model: str | None = None  # by the path
        self.body = link.body
        # The first field of each name; made once, because a request asks for about ten.
        self._fields = dict(reversed(link.headers))
        if self.header(CONTENT_ENCODING):
            self.body.coding = BodyCoding(link.headers)
        self.record = RequestRecord(
            request_id=self._request_id(),
            started_at=trio.current_time(),
            number=self.router.engine.next_number(),
        )
        self._more: dict[str, str] = {}  # headers of the answer, whatever it will be
        self.tasks = RequestTasks()  # all that is done for the request
        self._has_left = False
        self._has_begun = False
        self._seat: Seat | None = None  # the connection's, once the request was admitted

    async def authenticate(self) -> None:
        """Notes whose key the request has.  Raises Unauthorized, StoreUnavailable."""
        given = self.header(b"authorization").decode("latin-1")
        if not given and (own := self._own_key()):
            given = f"Bearer {own}"
        policies = self.generation.policies
        if policies is None:
            self.record.key = self.generation.keys.check(given, self.link.server)
        else:
            self.account = await policies.account(given, self.link.server)
            self.record.key = None if self.account is None else self.account.id
        self.admitted()

    def _own_key(self) -> str:
        """The key, if the request has it elsewhere than in `Authorization`; else empty."""
        key = next(filter(None, map(self.header, _KEYS)), b"")
        return key.decode("latin-1") or self.query_key

    @property
    def query(self) -> dict[str, str]:
        """The fields of the URL's query: one of them can be a secret."""
        raw = self.link.query
        return dict(parse_qsl(raw.decode("latin-1"))) if raw else {}

    @property
    def query_key(self) -> str:
        """The key in the URL, where Google's clients may put it; empty elsewhere."""
        return self.query.get("key", "") if self.link.path.startswith(_KEYED_BY_QUERY) else ""

    def admitted(self) -> None:
        """Notes that the request was admitted: its connection is not closed for another one."""
        if self._seat is None and (seat := current_seat.get()) is not None:
            self._seat = seat
            seat.begin()

    def trace(self, operation: str = "chat") -> None:
        """Notes the trace that the request is part of (W3C Trace Context)."""
        self.record.operation = operation
        self.router.observation.trace(self.record, self._fields)

    async def admit(self, model: str, target: Target | Route, said: Mapping[str, Any]) -> None:
        """Takes what the request needs of limits and budgets.  Raises RouterError.

        `model` is what the client asked for, which `target` stands for; `said` is its body.
        """
        policies = self.generation.policies
        if policies is not None:
            permit = await policies.admit(
                self.account, model, target, said, self.body.size, self.record
            )
            self.exchange.permit = permit

    async def admit_target(self, target: Target) -> None:
        """As `admit`, for a request that passes through to `target`.  Raises RouterError."""
        await self.admit(target.name, target, {"max_tokens": 0})

    def told_limits(self) -> dict[str, str]:
        """Headers that tell how near the limits are."""
        permit = self.exchange.permit
        return {} if permit is None else permit.headers()

    async def run(self) -> None:
        """Answers the request, to the answer's end; then everything that it has opened is closed.

        On cancel the client counts as gone.
        """
        try:
            await self.tasks.run(self._run)
        except trio.Cancelled:  # from outside: the connection is given up
            self.exchange.client_left()
            raise
        finally:
            if self._seat is not None:
                self._seat.end()
            self.body.discard()
            # Cut short: booked when its tasks have ended, for they count up to their last moment.
            self.exchange.close()

    async def _run(self) -> None:
        if self.path.startswith(AZURE):
            providers = self.router.generation.config.providers
            self.path, self.named_model = azure_path(self.link, providers)
        row = self.app.row_of(self.link.method, self.path)
        # At the moment in which the exchange begins to use it: one that nobody uses is closed.
        self.generation = self.router.generation
        self.exchange = Exchange(
            self.router.engine,
            self.generation.upstreams,
            self.tasks,
            self.record,
            is_booked=row.is_booked,
        )
        self._has_begun = True
        if self._has_left:
            self.client_left()
        try:
            await self._respond(await self._answer(row.endpoint))
            self.exchange.close()  # a client that leaves now has missed nothing
        except ClientStalled:
            self.exchange.client_stalled()

    def client_left(self) -> None:
        """The client has left: cancels the request, which closes all that it has opened."""
        self._has_left = True
        if self._has_begun:
            self.exchange.client_left()
            self.tasks.cancel()

    async def _answer(self, endpoint: Endpoint) -> Reply:
        origins = self.app.origins(self.generation)
        if not origins.is_idle and (early := self._answer_page(origins)) is not None:
            return early
        try:
            return await endpoint(self)
        except RouterError as error:
            return self._failed(error.bare())
        except ClientStalled:
            raise
        except Exception as fault:
            return self._failed(internal_error(fault, self.record.request_id))

    def _answer_page(self, origins: Origins) -> Reply | None:
        """The answer to a page that may not ask, or that asks whether it may; None to all others."""
        link = self.link
        self._more = origins.answer_headers(link.path, link.headers)
        try:
            origins.check(link.method, link.path, link.headers)
            allowed = origins.preflight(link.method, link.path, link.headers)
        except RouterError as error:
            return self._failed(error)
        return None if allowed is None else Reply(204, allowed)

    @property
    def error_body(self) -> Callable[[RouterError], dict[str, Any]]:
        """What gives errors their shape in the API that the request's path belongs to."""
        path = self.path
        is_shared = path == _MODELS or path.startswith(f"{_MODELS}/")
        for client in APIS:
            if client.owns(path) or (is_shared and client.header and self.header(client.header)):
                return client.error_body
        return RouterError.body

    def parsing(self, parse: Callable[..., Parsed]) -> Callable[..., Parsed]:
        """`parse`; where the path names the model, with that."""
        return parse if self.named_model is None else partial(parse, model=self.named_model)

    def _failed(self, error: RouterError) -> Reply:
        self.exchange.failed(error)
        return error_reply(error, self.record, self.error_body, self.router.clock.wall())

    async def _respond(self, answer: Reply) -> None:
        self.record.status = answer.status
        answer.headers["x-request-id"] = self.record.request_id
        for name, value in self._more.items():
            said = answer.headers.get(name) if name == "vary" else None
            answer.headers[name] = f"{value}, {said}" if said else value
        is_coming = not self.body.is_complete and not self.body.is_given_up
        if is_coming and self.link.may_wait_for_body:
            with trio.move_on_after(_DRAIN_SECONDS):
                await self.body.wait_complete()
        if not self.body.is_complete:
            answer.headers["connection"] = "close"
        if answer.switch is not None:
            offer, messages = answer.switch
            await offer.accept(_raw(answer.headers), messages)
        elif answer.stream is not None:
            if answer.status == 204:  # it has no body, and must not say how long it is (RFC 9110, 8.6)
                answer.headers.pop("content-length", None)
            await self.link.start(answer.status, _raw(answer.headers))
            answer.headers.clear()  # or the stream would keep them
            self._fields.clear()
            await self._send_stream(answer.stream)
        else:
            if answer.status != 204:
                answer.headers["content-length"] = str(len(answer.body))
            await self.link.start(answer.status, _raw(answer.headers))
            await self.link.finish(answer.body)

    async def _send_stream(self, stream: StreamReply) -> None:
        link = self.link
        link.on_moved = stream.moved
        try:
            while (frames := await stream.next(link.write_now)) is not None:
                await link.write(frames)
            if stream.is_torn:
                await link.tear()
            else:
                await link.finish(stream.tail)
        finally:
            link.on_moved = unheard  # or both would be left to the collector

    def _request_id(self) -> str:
        """The client's own, if it sent a sane one."""
        text = self.header(b"x-request-id").decode("latin-1")
        return text if text and _SANE_ID.fullmatch(text) else f"req_{self.router.clock.token(16).hex()}"

    def header(self, name: bytes) -> bytes:
        """A header's value, by its lower-case name; empty if it is not there."""
        return self._fields.get(name, b"")


def internal_error(fault: Exception, request_id: str) -> InternalError:
    """Our own fault: logged in full, told without detail."""
    logger.error("internal error", exc_info=fault, extra={"fields": {"request_id": request_id}})
    return InternalError(f"internal error; request id {request_id}")


def _raw(headers: dict[str, Any]) -> Headers:
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
