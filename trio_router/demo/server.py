"""The scripted upstream: a little HTTP/1.1 server that answers chats, and misbehaves on request."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from trio_router.demo.answers import Answer, Send, error_answer, json_answer
from trio_router.demo.connection import BadRequest, Connection, SeenRequest, Writer
from trio_router.demo.relay import Relay
from trio_router.demo.replies import CREATED, CREATED_AT, Chat, reply
from trio_router.demo.script import NoSuchModel, ScriptError, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.demo.local_model import LocalModel

_KEPT_BYTES = 1 << 26  # of the bodies of remembered requests
_OLLAMA_VERSION = "0.12.0"
_log = logging.getLogger("trio_router.demo")


@dataclass(frozen=True, slots=True)
class ClosedEarly:
    """An answer whose reader left before its end.

    `chunks` counts the writes of its body so far, `at` is the `trio.current_time()` of the leaving.
    """

    model: str
    chunks: int
    at: float


class DemoUpstream:
    """One scripted upstream; counts what it saw.

    Requests to `/v1/chat/completions`, `/v1/completions` (OpenAI) and `/api/chat` (Ollama) are answered
    as the model's name says (`trio_router.demo.script`); a test may set `script` and answer any
    request itself.  What is counted are POST requests, and `requests` holds the last `remember` of all.
    A reader that closes its connection, or only its sending side, is taken to have left: its answer is
    cancelled at once, whatever it was doing.

    Time is trio's alone, and `handle` takes any stream: under an autojump clock, with memory streams,
    everything here is exact and takes no time.  (Memory streams have no end to their buffers; an
    endless answer needs a socket or a lockstep stream.)
    """

    def __init__(
        self,
        *,
        smollm2: LocalModel | None = None,
        log: Callable[[str], None] = _log.info,
        remember: int = 1000,
    ) -> None:
        self.script: Callable[[SeenRequest], Answer | None] | None = None  # None: as the name says
        self.requests: list[SeenRequest] = []
        self.open_streams = 0
        self.closed_early: list[ClosedEarly] = []  # the last `remember`
        self.completed = 0  # answers sent to the end, whatever their status
        self.broken_off = 0  # answers that ended in a scripted Abort or Close
        self.sent_bytes = 0  # on the wire, heads and framing included; counted when a write is done
        self._smollm2 = smollm2
        self._log = log
        self._remember = remember
        self._kept_bytes = 0
        self._left = 0
        self._asked = 0
        self._watched: list[tuple[Callable[[], bool], trio.Event]] = []

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen until cancelled; `started` tells the port.

        Raises OSError if the address cannot be had.  When cancelled, open connections are closed at
        once and a local model's process is ended, which may take up to 3 seconds.
        """
        listeners = await trio.open_tcp_listeners(port, host=host)
        async with trio.open_nursery() as nursery:
            if self._smollm2 is not None:
                await nursery.start(self._smollm2.run)
            await nursery.start(partial(trio.serve_listeners, self.handle, listeners))
            task_status.started(listeners[0].socket.getsockname()[1])

    async def handle(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until either side is done with it, then close the stream.

        What a `script` raises comes out of here, in an ExceptionGroup.
        """
        connection = Connection(stream, self._count_sent)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, connection, nursery.cancel_scope)
                await self._serve_requests(connection)
                nursery.cancel_scope.cancel()
        finally:
            await connection.close()  # noqa: ASYNC102 - closes forcefully, waits for nothing

    async def wait_closed_early(self, count: int = 1) -> None:
        """Wait until that many readers have left early, since this server was made."""
        await self._wait(lambda: self._left >= count)

    async def wait_open(self, count: int) -> None:
        """Wait until exactly so many answers are being sent; a moment is enough."""
        await self._wait(lambda: self.open_streams == count)

    async def wait_completed(self, count: int = 1) -> None:
        """Wait until that many answers have been sent to the end, since this server was made.

        A streamed answer is counted before its reader can see the end of it; one with a length only
        when its last write has returned, which its reader may be ahead of.
        """
        await self._wait(lambda: self.completed >= count)

    async def wait_requests(self, count: int = 1) -> None:
        """Wait until that many POST requests have come in full, since this server was made."""
        await self._wait(lambda: self._asked >= count)

    async def _wait(self, condition: Callable[[], bool]) -> None:
        if condition():
            await trio.lowlevel.checkpoint()
            return
        watched = (condition, trio.Event())
        self._watched.append(watched)
        try:
            await watched[1].wait()
        finally:
            self._watched.remove(watched)

    def _changed(self) -> None:
        for condition, event in self._watched:
            if condition():
                event.set()

    async def _watch(self, connection: Connection, scope: trio.CancelScope) -> None:
        await connection.read_ahead()
        scope.cancel()

    async def _serve_requests(self, connection: Connection) -> None:
        try:
            while True:
                request = await connection.next_request()
                if isinstance(request, BadRequest):
                    await self._refuse(connection, request)
                    return
                if not await self._serve_one(connection, request):
                    return
        except trio.BrokenResourceError:
            return  # the peer is gone, and that has been counted

    async def _refuse(self, connection: Connection, fault: BadRequest) -> None:
        close = (("connection", "close"),)
        answer = error_answer(fault.status, str(fault), "invalid_request", headers=close)
        nothing = SeenRequest("GET", "/", "", {}, b"", None, trio.current_time(), keep_alive=False)
        await Writer(connection, nothing, answer).write()  # it has a length: nothing to finish

    async def _serve_one(self, connection: Connection, request: SeenRequest) -> bool:
        """Answer a request; True if the connection can take another one."""
        self._note(request)
        writer = self._writer(connection, request)
        if request.method != "POST":
            await writer.write()
            await writer.finish()
            return writer.keep_alive
        return await self._serve_counted(connection, request, writer)

    async def _serve_counted(
        self, connection: Connection, request: SeenRequest, writer: Writer | Relay
    ) -> bool:
        self.open_streams += 1
        self._asked += 1
        self._changed()
        ended = False
        try:
            await writer.write()
            ended = True
        finally:
            self.open_streams -= 1
            if writer.complete:
                self.completed += 1
            elif ended:
                self.broken_off += 1
            elif connection.left_at is not None:
                self._note_leaving(ClosedEarly(_model(request), writer.chunks, connection.left_at))
            self._changed()
        await writer.finish()
        return writer.keep_alive

    def _note_leaving(self, leaving: ClosedEarly) -> None:
        self._left += 1
        self.closed_early.append(leaving)
        del self.closed_early[: max(0, len(self.closed_early) - self._remember)]

    def _note(self, request: SeenRequest) -> None:
        self.requests.append(request)
        self._kept_bytes += len(request.body)
        while self.requests and (len(self.requests) > self._remember or self._kept_bytes > _KEPT_BYTES):
            self._kept_bytes -= len(self.requests.pop(0).body)

    def _count_sent(self, size: int) -> None:
        self.sent_bytes += size

    def _writer(self, connection: Connection, request: SeenRequest) -> Writer | Relay:
        answer = self.script(request) if self.script is not None else None
        if answer is None and self._is_for_local_model(request) and self._smollm2 is not None:
            return Relay(connection, request, self._smollm2)
        return Writer(connection, request, answer or self._answer(request))

    def _is_for_local_model(self, request: SeenRequest) -> bool:
        model = self._smollm2
        if model is None or request.method != "POST" or not request.path.startswith("/v1/"):
            return False
        asked = _model(request).rpartition("/")[2].partition(":")[0]
        return asked == model.name and model.available()

    def _answer(self, request: SeenRequest) -> Answer:
        match request.method, request.path:
            case "POST", "/v1/chat/completions":
                return self._chat(request, ollama=False)
            case "POST", "/v1/completions":
                return self._chat(request, ollama=False, is_text=True)
            case "POST", "/api/chat":
                return self._chat(request, ollama=True)
            case (("GET" | "HEAD"), path):
                return self._listing(path)
        return error_answer(404, f"there is no {request.method} {request.path} here", "not_found")

    def _chat(self, request: SeenRequest, *, ollama: bool, is_text: bool = False) -> Answer:
        if not isinstance(request.json, dict):
            return error_answer(400, "the body is not a JSON object", "invalid_json")
        body: dict[str, Any] = request.json
        model, messages = body.get("model"), body.get("messages")
        if is_text and isinstance(prompt := body.get("prompt"), str):
            messages = [{"role": "user", "content": prompt}]
        if not isinstance(model, str):
            return error_answer(400, "model must be a string", "invalid_request", param="model")
        if not isinstance(messages, list) or not messages:
            what = "messages must be a list that is not empty"
            name = "messages"
            if is_text:
                what, name = "prompt must be a string", "prompt"
            return error_answer(400, what, "invalid_request", param=name)
        try:
            script = parse(model)
        except NoSuchModel as fault:
            return error_answer(404, str(fault), "model_not_found", param="model")
        except ScriptError as fault:
            return error_answer(400, str(fault), "invalid_request", param="model")
        options = body.get("stream_options")
        chat = Chat(
            number=self._asked + 1,
            model=model,
            echo=_last_user_text(messages),
            prompt_words=sum(len(_text(message).split()) for message in messages),
            stream=bool(body.get("stream", ollama)),
            want_usage=isinstance(options, dict) and bool(options.get("include_usage")),
            is_text=is_text,
        )
        return reply(chat, script, ollama=ollama)

    def _listing(self, path: str) -> Answer:
        names = ["echo", "echo-ndjson"]
        if self._smollm2 is not None and self._smollm2.available():
            names.append(self._smollm2.name)
        if path == "/v1/models":
            return json_answer({"object": "list", "data": [_openai_model(name) for name in names]})
        if path.startswith("/v1/models/") and path.removeprefix("/v1/models/") in names:
            return json_answer(_openai_model(path.removeprefix("/v1/models/")))
        if path == "/api/tags":
            return json_answer({"models": [_ollama_model(name) for name in names]})
        if path == "/api/version":
            return json_answer({"version": _OLLAMA_VERSION})
        if path == "/":
            text = (Send(b"the demo upstream is running\n"),)
            return Answer(200, (("content-type", "text/plain"),), text, "length")
        return error_answer(404, f"there is no {path} here", "not_found")


def _model(request: SeenRequest) -> str:
    model = request.json.get("model") if isinstance(request.json, dict) else None
    return model if isinstance(model, str) else ""


def _last_user_text(messages: list[Any]) -> str:
    users = [one for one in messages if isinstance(one, dict) and one.get("role") == "user"]
    return _text(users[-1]) if users else ""


def _text(message: Any) -> str:
    """A message's text, whether it is a string or in parts."""
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _openai_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "demo"}


def _ollama_model(name: str) -> dict[str, Any]:
    details = {"format": "demo", "family": "demo", "parameter_size": "0", "quantization_level": ""}
    return {
        "name": name,
        "model": name,
        "modified_at": CREATED_AT,
        "size": 0,
        "digest": "",
        "details": details,
    }
