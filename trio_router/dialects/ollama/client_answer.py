"""The hub's answers as clients of Ollama's API get them: records, one a line, or one record.

A call's arguments are an object here, so calls go out when they are whole.  Counts and the reason of
the end are told where the upstream told them; durations are those that were measured here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trio_router.dialects.hub import CallSorter, as_dict, dicts, legacy_call, text_of, tool_input
from trio_router.wire.jsoncodec import dumps
from trio_router.wire.ndjson import encode_line

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity, Chunk, Completion
    from trio_router.errors import RouterError
    from trio_router.wire.sse import ServerSentEvent

Record = dict[str, Any]
_REASONS = {"tool_calls": "stop", "function_call": "stop"}  # all others are told as they are


def error_body(error: RouterError) -> Record:
    return {"error": error.message}


def timestamp(seconds: float) -> str:
    """A Unix time as the API writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def line(record: Record) -> bytes:
    return encode_line(dumps(record))


class OllamaEncoder:
    """One answer's chunks as records.  See FramingEncoder."""

    def __init__(self, identity: AnswerIdentity, *, is_chat: bool) -> None:
        self._identity = identity
        self._is_chat = is_chat
        self._frame: Record = {}
        self._calls = _Calls()
        self._finish: Any = None
        self._usage: Record = {}

    def encode(self, chunk: Chunk) -> bytes:
        self._begin(chunk)
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        said = [
            self._said(choice)
            for choice in dicts(chunk.get("choices"))
            if choice.get("index", 0) in (0, None)
        ]
        return b"".join(said)

    def passes(self, event: Record) -> bool:
        return True

    def framed(self, event: ServerSentEvent) -> bytes:
        """The event's JSON as a line: its own line ends can only be white space between values."""
        data = event.data
        if b"\n" in data or b"\r" in data:
            data = data.replace(b"\n", b" ").replace(b"\r", b" ")
        return encode_line(data)

    def finish(self) -> bytes:
        self._begin({})
        calls = self._told(self._calls.take())
        last = {**self._frame, **_message(self._is_chat, ""), "done": True}
        return calls + line(last | _end(self._finish, self._usage, self._identity))

    def fail(self, error: RouterError) -> bytes:
        return line(error_body(error))

    def _begin(self, chunk: Chunk) -> None:
        if not self._frame:
            self._frame = _frame(chunk, self._identity)

    def _said(self, choice: Record) -> bytes:
        delta = as_dict(choice.get("delta") or choice.get("message"))
        text, thinking = _words(delta)
        more: Record = {"thinking": thinking} if thinking else {}
        self._calls.add(delta)
        said = self._told(more, text, _logprobs(choice))
        if choice.get("finish_reason"):
            self._finish = choice["finish_reason"]
            said += self._told(self._calls.take())
        return said

    def _told(self, more: Record, text: str = "", beside: Record | None = None) -> bytes:
        if not (text or more or beside):
            return b""
        said = _message(self._is_chat, text, more)
        return line({**self._frame, **said, **(beside or {}), "done": False})


def whole(completion: Completion, identity: AnswerIdentity, *, is_chat: bool) -> Record:
    """A whole answer as one record."""
    choice = next((c for c in dicts(completion.get("choices")) if not c.get("index")), {})
    message = as_dict(choice.get("message"))
    text, thinking = _words(message)
    calls = _Calls()
    calls.add(message)
    more: Record = {"thinking": thinking} if thinking else {}
    said = _message(is_chat, text, more | calls.take())
    frame = {**_frame(completion, identity), **said, **_logprobs(choice), "done": True}
    return frame | _end(choice.get("finish_reason"), as_dict(completion.get("usage")), identity)


def idle(model: str, identity: AnswerIdentity, *, is_chat: bool, reason: str) -> Record:
    """The answer to a request that only loads a model ("load") or lets it go ("unload")."""
    frame = {"model": model, "created_at": timestamp(identity.created)}
    return {**frame, **_message(is_chat, ""), "done": True, "done_reason": reason}


def _frame(answer: Record, identity: AnswerIdentity) -> Record:
    created = answer.get("created")
    if isinstance(created, bool) or not isinstance(created, int) or not 0 < created < 1 << 35:
        created = identity.created
    return {"model": answer.get("model") or identity.model, "created_at": timestamp(created)}


def _message(is_chat: bool, text: str, more: Record | None = None) -> Record:
    if is_chat:
        return {"message": {"role": "assistant", "content": text, **(more or {})}}
    return {"response": text, **(more or {})}


def _words(message: Record) -> tuple[str, str]:
    """Text and thinking.  A refusal is text, as the API has no other word for it."""
    text, thinking = text_of(message.get("content"))
    if isinstance(message.get("refusal"), str):
        text += message["refusal"]
    told = message.get("reasoning_content") or message.get("reasoning")
    if not isinstance(told, str) or not told:
        found = [d.get("text") or d.get("summary") for d in dicts(message.get("reasoning_details"))]
        told = "".join(part for part in found if isinstance(part, str))
    return text, told or thinking


def _logprobs(choice: Record) -> Record:
    found = dicts(as_dict(choice.get("logprobs")).get("content"))
    return {"logprobs": found} if found else {}


def _end(finish: Any, usage: Record, identity: AnswerIdentity) -> Record:
    told: Record = {}
    if isinstance(finish, str) and finish:
        told["done_reason"] = _REASONS.get(finish, finish)
    if identity.elapsed is not None:
        told["total_duration"] = int(identity.elapsed() * 1e9)
    for name, hub in (("prompt_eval_count", "prompt_tokens"), ("eval_count", "completion_tokens")):
        if isinstance(usage.get(hub), int):
            told[name] = usage[hub]
    return told


class _Calls:
    """The tool calls of one answer, put together from their pieces."""

    def __init__(self) -> None:
        self._sorter = CallSorter()
        self._calls: list[Record] = []
        self._taken = 0

    def add(self, message: Record) -> None:
        for piece in dicts(message.get("tool_calls")):
            self._piece(piece)
        if legacy := legacy_call(message):
            self._piece({"index": "function_call", "function": legacy})

    def _piece(self, piece: Record) -> None:
        function = as_dict(piece.get("function"))
        name, given = function.get("name"), piece.get("id")
        number = self._sorter.number(piece.get("index"), given, has_name=bool(name))
        if number == len(self._calls):
            self._calls.append({"id": "", "name": "", "arguments": ""})
        call = self._calls[number]
        if isinstance(given, str):
            call["id"] = given or call["id"]
        if isinstance(name, str):
            call["name"] = call["name"] or name
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            call["arguments"] += arguments
        elif arguments is not None:
            call["arguments"] = dumps(arguments).decode()

    def take(self) -> Record:
        """The calls that were not taken yet, whole; nothing if there are none."""
        calls = [_call(call, place) for place, call in enumerate(self._calls) if place >= self._taken]
        self._taken = len(self._calls)
        return {"tool_calls": calls} if calls else {}


def _call(call: Record, place: int) -> Record:
    function = {"index": place, "name": call["name"], "arguments": tool_input(call["arguments"])}
    own = {"id": call["id"]} if call["id"] else {}
    return {**own, "function": function}
