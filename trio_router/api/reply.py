"""An endpoint's answer, independent of any framework."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from trio_router.errors import MethodNotAllowed
from trio_router.money import plain
from trio_router.routing.retry import told_retry_after
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from trio_router.server.link import Answer, Offer

    Switch = tuple[Offer, Answer]

    from trio_router.errors import RouterError
    from trio_router.observe.record import RequestRecord
    from trio_router.relay.stream import StreamReply

_PLAIN = re.compile(r"[!-$&-~]+")  # what a header can hold as it is; `%` is how the rest is told
_SAFE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")


@dataclass(slots=True)
class Reply:
    """The head, then `stream` if there is one, else `body`.  Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    stream: StreamReply | None = field(default=None)
    switch: Switch | None = field(default=None)  # to a WebSocket, which follows the head


def json_reply(value: Any, status: int = 200, **headers: str) -> Reply:
    """`value` as JSON, with `headers` beside the content type."""
    return Reply(status, {"content-type": "application/json", **headers}, dumps(value))


def error_reply(
    error: RouterError,
    record: RequestRecord,
    body: Callable[[RouterError], dict[str, Any]],
    wall: float,
) -> Reply:
    """The answer that tells of `error` at the Unix time `wall`, in the shape that `body` gives it."""
    reply = json_reply(body(error), error.status)
    if (patience := told_retry_after(error.retry_after, wall)) is not None:
        reply.headers["retry-after"] = patience
    if isinstance(error, MethodNotAllowed) and error.allow:
        reply.headers["allow"] = error.allow
    if error.is_final:
        reply.headers["x-should-retry"] = "false"  # otherwise OpenAI's own clients retry
    if error.headers:
        reply.headers |= error.headers
    if record.attempts:
        reply.headers |= origin(record)
    return reply


def origin(record: RequestRecord) -> dict[str, str]:
    """The headers that tell who answered, after how many attempts, and at what cost if it is known.

    While a stream runs nobody knows what it will cost.

    Clients make up model names: what no header can hold (and `%`) is percent-encoded, as UTF-8.
    """
    target = f"{record.provider}/{record.model}" if record.model else record.provider
    told = {
        "x-trio-router-target": target if _PLAIN.fullmatch(target) else _encoded(target),
        "x-trio-router-attempts": str(record.attempts),
    }
    if record.dropped:
        told["x-trio-router-dropped"] = ", ".join(record.dropped)
    if not record.is_stream and (cost := record.cost) is not None:
        told["x-trio-router-cost"] = plain(cost)
    return told


def _encoded(text: str) -> str:
    return quote(text, safe=_SAFE, errors="replace")
