"""One upstream's answer, told to clients of five APIs: chat, Messages, Responses, Gemini and Ollama.

Without IO: the calls of the five endpoints read the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.e2e.gist import Gist, got
from tests.e2e.replay import ASK, CHAT, GEMINI
from trio_router.config.file import parse_config
from trio_router.config.schema import ProviderConfig
from trio_router.dialects import CLIENTS, DIALECTS, GEMINI as GEMINI_CLIENT
from trio_router.dialects.base import AnswerIdentity
from trio_router.errors import RouterError
from trio_router.relay.call import ChatCall, ClientCall, OpenedAnswer
from trio_router.routing.table import RouteTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_router.relay.call import Call
    from trio_router.routing.target import Target

MESSAGES, RESPONSES, OLLAMA = "/v1/messages", "/v1/responses", "/api/chat"
APIS = (CHAT, MESSAGES, RESPONSES, GEMINI, OLLAMA)
_OBJECTS = (MESSAGES, GEMINI, OLLAMA)  # whose calls take an object
_WHO = AnswerIdentity("chatcmpl-1", 1, "any/m")


@dataclass(frozen=True)
class Told:
    """What a client was told; `error` is the code of the fault that ended the answer, if one did."""

    gist: Gist
    error: str


def target_of(dialect: str) -> Target:
    provider = ProviderConfig(base_url="http://upstream", dialect=dialect, api_key="sk-x")
    config = parse_config("", {}).model_copy(update={"providers": {"any": provider}})
    return RouteTable(config).target("any/m")


TARGETS = {dialect: target_of(dialect) for dialect in sorted(DIALECTS) if dialect != "azure"}


def call_of(path: str, *, stream: bool) -> Call:
    body = {**ASK[path], "model": "any/m", "stream": stream}
    if path == CHAT:
        options = {"stream_options": {"include_usage": True}} if stream else {}
        return ChatCall({**body, **options})
    client = GEMINI_CLIENT if path == GEMINI else CLIENTS[path]
    return ClientCall(client, body)


def streamed(path: str, dialect: str, content_type: str, pieces: Iterable[bytes]) -> Told:
    """What a client of the API at `path` gets of a stream; an error before all else has no gist."""
    call = call_of(path, stream=True)
    translator = call.translator(OpenedAnswer(TARGETS[dialect], _WHO, content_type))
    reader = translator.reader
    body = b""
    for piece in pieces:
        if reader.is_done or reader.failure is not None:
            break
        body += translator.receive_data(piece)
    if not reader.is_done and reader.failure is None:
        body += translator.receive_eof()
    if reader.failure is None:
        return Told(got(path, body), "")
    error = reader.failure.code or ""
    if not body:  # then the client gets a status
        return Told(Gist(failed=True), error)
    body += translator.fail(reader.failure)
    return Told(got(path, body), error)


def whole(path: str, dialect: str, content_type: str, body: bytes) -> Told:
    """The same of an answer without streaming, whatever the upstream has sent."""
    answer = OpenedAnswer(TARGETS[dialect], _WHO, content_type)
    try:
        said = call_of(path, stream=False).whole(answer).translate(body)
    except RouterError as error:
        return Told(Gist(failed=True), error.code or "")
    return Told(got(path, said), "")


def likened(path: str, told: Told, *, has_end: bool) -> Any:
    """What must be the same in all APIs.

    Words that one API alone has for an end are left out, as is an end that the upstream has not told;
    and so is what stands behind the text of an answer that failed, for clients do not get all of it.
    """
    gist = told.gist
    if gist.failed:
        return told.error, gist.text
    calls = [(name, _as_object(path, arguments)) for name, arguments in gist.calls]
    end = gist.finish if has_end and gist.finish in ("length", "content_filter") else "an end"
    return told.error, gist.text, gist.reasoning, calls, end


def _as_object(path: str, arguments: Any) -> Any:
    """What is no object reaches clients of some APIs in one."""
    if path in _OBJECTS and isinstance(arguments, dict) and arguments.keys() == {"INVALID_JSON"}:
        return arguments["INVALID_JSON"]
    return arguments


def differences(told: dict[str, Told]) -> list[str]:
    """What clients of the APIs are told otherwise than those of chat."""
    has_end = told[CHAT].gist.finish is not None
    chat = likened(CHAT, told[CHAT], has_end=has_end)
    return [
        f"{path}: {got_there!r:.600}\n    chat: {chat!r:.600}"
        for path, one in told.items()
        if (got_there := likened(path, one, has_end=has_end)) != chat
    ]


def without_reason(dialect: str, told: dict[str, Told]) -> dict[str, Told]:
    """Only Anthropic has a place of its own for why an answer was refused; elsewhere it is text."""
    said = told[MESSAGES].gist
    if dialect != "anthropic" or said.finish != "content_filter":
        return told
    shorter = {}
    for path, one in told.items():
        assert one.gist.text.startswith(said.text)
        shorter[path] = Told(replace(one.gist, text=said.text), one.error)
    return shorter
