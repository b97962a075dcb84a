"""From a chat request and the script in its model's name to an answer in OpenAI's or Ollama's shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from trio_router.demo.answers import (
    Abort,
    Answer,
    Close,
    Hang,
    Send,
    Sleep,
    cut,
    error_body,
    json_answer,
)
from trio_router.demo.script import texts
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from trio_router.demo.answers import Step
    from trio_router.demo.script import Script

CREATED = 1_767_225_600  # fixed: the same request gets the same bytes
CREATED_AT = "2026-01-01T00:00:00.000000Z"
_BAD_UTF8 = b"\xe2\x82\xff"  # a character cut short and a byte that never occurs: two U+FFFD


@dataclass(frozen=True, slots=True)
class Chat:
    """What the request asks for, already checked."""

    number: int  # of the request, for its id
    model: str
    echo: str  # the last user message
    prompt_words: int
    stream: bool
    want_usage: bool
    is_text: bool = False  # a text completion, whose prompt it is that is echoed


class _Shape(Protocol):
    content_type: str
    comment: bytes
    malformed: bytes

    def opening(self) -> list[bytes]: ...
    def chunk(self, text: str) -> bytes: ...
    def closing(self, chunks: int) -> list[bytes]: ...
    def fault(self, status: int, message: str) -> Any: ...
    def whole(self, text: str, chunks: int) -> bytes: ...
    def frame(self, data: bytes) -> bytes: ...


class _OpenAI:
    content_type = "text/event-stream; charset=utf-8"
    malformed = b'{"choices":[oops'

    def __init__(self, chat: Chat, script: Script) -> None:
        self._chat, self._nodone = chat, script.nodone
        self._end = b"\r\n" if script.crlf else b"\n"
        self.comment = b": still here" + self._end * 2

    def opening(self) -> list[bytes]:
        return [self._event({"role": "assistant", "content": ""}, None)]

    def chunk(self, text: str) -> bytes:
        return self._event({"content": text}, None)

    def closing(self, chunks: int) -> list[bytes]:
        events = [self._event({}, "stop")]
        if self._chat.want_usage:
            usage = {"choices": [], "usage": self._usage(chunks)}
            events.append(dumps(self._base("chat.completion.chunk") | usage))
        return events if self._nodone else [*events, b"[DONE]"]

    def fault(self, status: int, message: str) -> Any:
        return {"error": error_body(status, message, "scripted")}

    def whole(self, text: str, chunks: int) -> bytes:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return dumps(
            self._base("chat.completion") | {"choices": [choice], "usage": self._usage(chunks)}
        )

    def frame(self, data: bytes) -> bytes:
        return b"data: " + data + self._end * 2

    def _event(self, delta: dict[str, str], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        event = self._base("chat.completion.chunk") | {"choices": [choice]}
        if self._chat.want_usage:
            event["usage"] = None
        return dumps(event)

    def _base(self, kind: str) -> dict[str, Any]:
        number = f"chatcmpl-demo-{self._chat.number:06}"
        return {"id": number, "object": kind, "created": CREATED, "model": self._chat.model}

    def _usage(self, chunks: int) -> dict[str, int]:
        words = self._chat.prompt_words
        return {"prompt_tokens": words, "completion_tokens": chunks, "total_tokens": words + chunks}


class _Text(_OpenAI):
    """Text completions, the API before chats."""

    def opening(self) -> list[bytes]:
        return []

    def whole(self, text: str, chunks: int) -> bytes:
        answer = self._base("text_completion")
        return dumps(answer | {"choices": [_text_choice(text, "stop")], "usage": self._usage(chunks)})

    def _event(self, delta: dict[str, str], finish: str | None) -> bytes:
        choice = _text_choice(delta.get("content", ""), finish)
        return dumps(self._base("text_completion") | {"choices": [choice]})

    def _base(self, kind: str) -> dict[str, Any]:
        number = f"cmpl-demo-{self._chat.number:06}"
        return super()._base(kind) | {"id": number, "object": "text_completion"}


def _text_choice(text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}


class _Ollama:
    content_type = "application/x-ndjson"
    malformed = b'{"message":{oops'

    def __init__(self, chat: Chat, script: Script) -> None:
        self._chat = chat
        self._end = b"\r\n" if script.crlf else b"\n"
        self.comment = self._end

    def opening(self) -> list[bytes]:
        return []

    def chunk(self, text: str) -> bytes:
        return dumps(self._base(text, done=False))

    def closing(self, chunks: int) -> list[bytes]:
        return [self.whole("", chunks)]

    def fault(self, status: int, message: str) -> Any:
        return {"error": message}

    def whole(self, text: str, chunks: int) -> bytes:
        counts = {
            "done_reason": "stop",
            "total_duration": 5_000_000 + chunks * 1_000_000,  # ns, as Ollama has it
            "load_duration": 1_000_000,
            "prompt_eval_count": self._chat.prompt_words,
            "prompt_eval_duration": 4_000_000,
            "eval_count": chunks,
            "eval_duration": chunks * 1_000_000,
        }
        return dumps(self._base(text, done=True) | counts)

    def frame(self, data: bytes) -> bytes:
        return data + self._end

    def _base(self, text: str, *, done: bool) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        return {
            "model": self._chat.model,
            "created_at": CREATED_AT,
            "message": message,
            "done": done,
        }


def reply(chat: Chat, script: Script, *, ollama: bool) -> Answer:
    """The answer that the script asks for; a streamed one is made step by step while it is sent."""
    shape: _Shape = _Text(chat, script) if chat.is_text else _OpenAI(chat, script)
    if ollama or script.ndjson:
        shape = _Ollama(chat, script)
    delay = script.first_ms / 1000
    if script.status is not None:
        return _failure(shape, script.status, delay)
    if not chat.stream:
        return _whole(chat, script, shape, delay)
    steps: Iterable[Step] = _stream(chat, script, shape)
    if script.piece is not None:
        steps = _recut(steps, script.piece)
    headers = (("content-type", shape.content_type), ("cache-control", "no-cache"))
    return Answer(200, headers, steps, head_delay=delay)


def _stream(chat: Chat, script: Script, shape: _Shape) -> Iterator[Step]:
    sent = 0
    for text in texts(script, chat.echo):
        if (yield from _faults(script, shape, sent)):
            return
        if not sent:
            yield from _events(shape, shape.opening())
        if script.comment is not None and (sent + 1) % script.comment == 0:
            yield Send(shape.comment)
        if script.delay_ms:
            yield Sleep(script.delay_ms / 1000)
        sent += 1
        yield from _events(shape, [_spoilt(script, sent, shape.chunk(text))])
    if (yield from _faults(script, shape, sent)):
        return
    if not sent:
        yield from _events(shape, shape.opening())
    yield from _events(shape, shape.closing(sent))


def _faults(script: Script, shape: _Shape, sent: int) -> Generator[Step, None, bool]:
    """What goes wrong after so many chunks; True: the answer is over."""
    if script.malformed == sent:
        yield from _events(shape, [shape.malformed])
    if script.error == sent:
        yield from _events(shape, [dumps(shape.fault(500, "the script says: an error"))])
        return True
    if script.abort == sent:
        yield Abort()
    if script.hang == sent:
        yield Hang()
    return script.truncate == sent


def _events(shape: _Shape, events: Sequence[bytes]) -> Iterator[Step]:
    for event in events:
        yield Send(shape.frame(event))


def _spoilt(script: Script, number: int, event: bytes) -> bytes:
    if script.bad_utf8 != number:
        return event
    head, mark, tail = event.partition(b'"content":"')
    return head + mark + _BAD_UTF8 + tail


def _whole(chat: Chat, script: Script, shape: _Shape, delay: float) -> Answer:
    parts = list(texts(script, chat.echo))
    count = len(parts)
    delay += script.delay_ms * count / 1000
    if _met(script.error, count):
        return _failure(shape, 500, delay)
    body = shape.whole("".join(parts), count)
    if _met(script.malformed, count):
        body = shape.malformed
    if script.bad_utf8 is not None and script.bad_utf8 <= count:
        body = _spoilt(script, script.bad_utf8, body)
    half = len(body) // 2
    pieces: Iterable[Step] = [Send(body)]
    for fault, step in ((script.abort, Abort()), (script.hang, Hang()), (script.truncate, Close())):
        if _met(fault, count):
            pieces = [Send(body[:half]), step, Send(body[half:])]
            break
    headers = (("content-type", "application/json"), ("content-length", str(len(body))))
    steps = pieces if script.piece is None else _recut(pieces, script.piece)
    return Answer(200, headers, steps, "length", head_delay=delay)


def _met(fault: int | None, chunks: int) -> bool:
    return fault is not None and fault <= chunks


def _failure(shape: _Shape, status: int, delay: float) -> Answer:
    headers = (("retry-after", "1"),) if status == 429 else ()
    plain = json_answer(shape.fault(status, f"the script says: status {status}"), status, headers)
    return Answer(plain.status, plain.headers, plain.steps, plain.framing, head_delay=delay)


def _recut(steps: Iterable[Step], size: int) -> Iterator[Step]:
    """The same bytes in writes of `size`; only another step in between makes a shorter one."""
    held = b""
    for step in steps:
        if isinstance(step, Send):
            held += step.data
            whole = len(held) - len(held) % size
            yield from cut(held[:whole], size)
            held = held[whole:]
        else:
            yield from cut(held, size)
            held = b""
            yield step
    yield from cut(held, size)
