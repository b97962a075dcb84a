"""What one request asks of its target, and how the answer is translated: an attempt without the IO.

The endpoint chooses the call.  Chat requests are in the hub's own shape.  Requests of other APIs go
through a client dialect, which translates between that API and the hub.  If the target speaks the
client's API itself, request and answer pass through unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from trio_router.config.kinds import kind_at
from trio_router.dialects.answer import AnswerReader
from trio_router.dialects.base import AnswerIdentity
from trio_router.dialects.chat_freeform import FreeFormAnswer, FreeFormCalls
from trio_router.dialects.native import NativeAnswer, NativeReader, NativeTranslator
from trio_router.dialects.translate import (
    KEEPALIVE,
    EncodedAnswer,
    EncodedTranslator,
    StreamTranslator,
    WholeAnswer,
    render_error,
)
from trio_router.errors import InvalidRequest
from trio_router.relay.forwarded import allowed, forwarded

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from trio_router.dialects.base import ClientDialect, UpstreamRequest
    from trio_router.dialects.taps import Tap
    from trio_router.errors import RouterError
    from trio_router.routing.target import Target

_CONVERSATION = frozenset({"messages", "input", "prompt", "contents"})


class OpenedAnswer(NamedTuple):
    """An upstream's answer of which only the head has come.

    `identity` is how it names itself if it is translated here; `content_type` is what its head says.
    """

    target: Target
    identity: AnswerIdentity
    content_type: str

    def reader(self) -> AnswerReader:
        """A new reader of its body."""
        target = self.target
        return AnswerReader(target.dialect, self.identity, self.content_type, target.rules)

    def whole(self) -> WholeAnswer:
        """A new reader of its body, if it comes without streaming."""
        target = self.target
        return WholeAnswer(target.dialect, self.identity, self.content_type, target.rules)


class Translator(Protocol):
    """One stream, from the upstream's bytes to the client's.  See StreamTranslator."""

    reader: AnswerReader

    def receive_data(self, data: bytes) -> bytes:
        """The frames that the upstream's bytes `data` complete; empty if they complete none."""
        ...

    def receive_eof(self, *, clean: bool = True) -> bytes:
        """The last frames.  `clean` is false if the connection broke before the body ended."""
        ...

    def fail(self, error: RouterError) -> bytes:
        """The frames that end the stream with `error`, after those that this translator has given."""
        ...

    def going_on(self, reader: AnswerReader, taps: Sequence[Tap]) -> Translator:
        """A translator of another target's answer, which `reader` reads.

        The client's side goes on where this translator has stopped.
        """
        ...


class Whole(Protocol):
    """One answer without streaming.  See WholeAnswer."""

    reader: AnswerReader

    def translate(self, body: bytes) -> bytes:
        """The client's JSON of the upstream's whole `body`.  Raises UpstreamError."""
        ...


class AnyCall(Protocol):
    """One request, however its answer comes."""

    is_heavy: bool  # what is done with the request belongs into a thread, see `heavy`

    def request_for(self, target: Target) -> UpstreamRequest:
        """The upstream's request to `target`.  Raises InvalidRequest for what `target` cannot do."""
        ...

    def forget(self) -> None:
        """Frees the request, which may hold a long prompt.  Nobody asks for it after this."""


class WholeCall(AnyCall, Protocol):
    """A request whose answer comes whole."""

    max_answer: int | None  # bytes of an answer; None: `stream.max_event`

    def whole(self, answer: OpenedAnswer) -> Whole:
        """The translator of the body of `answer`."""
        ...


class StreamCall(AnyCall, Protocol):
    """A request whose answer is streamed."""

    keepalive: bytes  # what bridges silence

    def translator(self, answer: OpenedAnswer, taps: Sequence[Tap] = ()) -> Translator:
        """The translator of the body of `answer`; the items go through `taps`, in their order."""
        ...

    def fail(self, error: RouterError) -> bytes:
        """The frames that end a stream with `error` if only keepalive comments have been sent."""
        ...


class HubCall(StreamCall, Protocol):
    """A streamed request with a shape in the hub: another target can continue its answer."""

    @property
    def chat(self) -> dict[str, Any]:
        """The request in the hub's shape, as any target gets it."""
        ...

    def request_with(self, target: Target, chat: dict[str, Any]) -> UpstreamRequest:
        """The upstream's request for `chat`, which replaces this request's own body."""
        ...


class Call(HubCall, WholeCall, Protocol):
    """A request for text: `is_stream` says which of the two ways the client wants its answer."""

    is_stream: bool
    content_type: str  # of a stream
    dropped: Sequence[str]  # what an agent sends, and the target asked last does not have

    @property
    def said(self) -> Mapping[str, Any]:
        """What the client asks, in its own API."""
        ...


class _TextCall:
    """What the calls for text share; see Call.  `body` is the client's request, checked."""

    max_answer: int | None = None
    dropped: Sequence[str] = ()

    def __init__(self, body: dict[str, Any], *, is_heavy: bool) -> None:
        self.is_heavy = is_heavy
        self.is_stream = bool(body.get("stream"))
        self._body = body

    def request_with(self, target: Target, chat: dict[str, Any]) -> UpstreamRequest:
        return target.dialect.build_request(
            target.body_for(chat),
            ask_usage=target.ask_usage and self.is_stream,
            drop_unsupported=target.drop_unsupported,
        )


class ChatCall(_TextCall):
    """`POST /v1/chat/completions`.  `body` has been checked and is in the hub's shape."""

    keepalive = KEEPALIVE
    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, body: dict[str, Any], *, is_heavy: bool = False) -> None:
        super().__init__(body, is_heavy=is_heavy)
        self._with_usage = bool((body.get("stream_options") or {}).get("include_usage"))

    @property
    def said(self) -> Mapping[str, Any]:
        return self._body

    def request_for(self, target: Target) -> UpstreamRequest:
        return self.request_with(target, self._body)

    def translator(self, answer: OpenedAnswer, taps: Sequence[Tap] = ()) -> Translator:
        return StreamTranslator(answer.reader(), taps, with_usage=self._with_usage)

    def whole(self, answer: OpenedAnswer) -> Whole:
        return answer.whole()

    def fail(self, error: RouterError) -> bytes:
        return render_error(error)

    def forget(self) -> None:
        self._body = {}

    @property
    def chat(self) -> dict[str, Any]:
        return self._body


class FreeFormChatCall(ChatCall):
    """A chat request some of whose tools take free-form text; `free` are their names.

    They are functions in `body`, and their calls are named back.  `dropped` is what was left out.
    """

    def __init__(self, body: dict[str, Any], free: frozenset[str], dropped: Sequence[str]) -> None:
        super().__init__(body)
        self.dropped = dropped
        self._free = free

    def translator(self, answer: OpenedAnswer, taps: Sequence[Tap] = ()) -> Translator:
        own = (FreeFormCalls(self._free),) if self._free else ()
        return super().translator(answer, (*taps, *own))

    def whole(self, answer: OpenedAnswer) -> Whole:
        made = super().whole(answer)
        return FreeFormAnswer(made, self._free) if self._free else made


class ClientCall(_TextCall):
    """A request in the API of `client`.  `body` is the client's own, checked.

    `headers` are the client's, with lower-case names; those that belong to the API are forwarded.
    """

    def __init__(
        self,
        client: ClientDialect,
        body: dict[str, Any],
        headers: Collection[tuple[bytes, bytes]] = (),
        *,
        is_heavy: bool = False,
    ) -> None:
        super().__init__(body, is_heavy=is_heavy)
        self.keepalive = client.keepalive
        self.content_type = client.content_type
        self._client = client
        self._headers = forwarded(client.native, headers)
        self._is_agent = client.is_agent(headers)
        self._chats: dict[tuple[bool, bool], dict[str, Any]] = {}  # see `_chat`
        self._left_out: list[str] = []

    @property
    def said(self) -> Mapping[str, Any]:
        return self._body

    def request_for(self, target: Target) -> UpstreamRequest:
        path = target.native.get(self._client.name)
        if path is None:
            return self._translated(target)
        self.dropped = ()
        ask_usage = target.ask_usage and self.is_stream
        merged = target.body_for(self._client.exposed(self._body))
        body = self._client.native.request(merged, ask_usage=ask_usage)
        path = self._client.native_path(path, self._body)
        return target.dialect.native_request(path, body, allowed(self._headers, target))

    def _translated(self, target: Target) -> UpstreamRequest:
        """What clients send unasked is left out for targets that refuse it."""
        is_own = self._client.dialect in (target.dialect.name, *target.dialect.kin)
        chat = self._chat(drop=target.drop_unsupported, is_own=is_own)
        self.dropped = self._left_out
        hints = self._client.hints & chat.keys()
        if not hints:
            return self.request_with(target, chat)
        try:
            return self._without(hints & kind_at(target.base_url).refuses, target, chat)
        except InvalidRequest as refusal:
            if refusal.param not in hints:
                raise
        return self._without(hints, target, chat)

    def _without(self, names: frozenset[str], target: Target, chat: dict[str, Any]) -> UpstreamRequest:
        self.dropped = [*self._left_out, *sorted(names)]
        plain = {name: value for name, value in chat.items() if name not in names}
        return self.request_with(target, plain)

    def translator(self, answer: OpenedAnswer, taps: Sequence[Tap] = ()) -> Translator:
        encoder = self._client.encoder(answer.identity, self._body)
        if self._is_native(answer.target):
            return NativeTranslator(self._client.native, self._native_reader(answer), encoder, taps)
        return EncodedTranslator(answer.reader(), encoder, taps)

    def whole(self, answer: OpenedAnswer) -> Whole:
        encoded = EncodedAnswer(answer.whole(), self._client, answer.identity, self._body)
        if self._is_native(answer.target):
            return NativeAnswer(self._client.native, self._native_reader(answer), encoded)
        return encoded

    def _native_reader(self, answer: OpenedAnswer) -> NativeReader:
        native, rules = self._client.native, answer.target.rules
        formats = self._client.formats
        return NativeReader(native, answer.identity, answer.content_type, rules, formats)

    def fail(self, error: RouterError) -> bytes:
        return self._client.encoder(AnswerIdentity("", 0, ""), self._body).fail(error)

    def forget(self) -> None:
        # Answers repeat parts of the request, but never the conversation, which is long.
        self._body = {name: value for name, value in self._body.items() if name not in _CONVERSATION}
        self._chats = {}

    def _chat(self, *, drop: bool, is_own: bool) -> dict[str, Any]:
        """`drop`: without what cannot be kept.  `is_own`: with what only upstreams of this API know."""
        if (known := self._chats.get((drop, is_own))) is not None:
            return known
        if self._is_agent:
            chat, self._left_out = self._client.agents_request(self._body, drop_unsupported=drop)
        else:
            chat = self._client.chat_request(self._body, drop_unsupported=drop)
        self._chats[drop, is_own] = made = chat if is_own else self._client.for_others(chat)
        return made

    @property
    def chat(self) -> dict[str, Any]:
        return self._chat(drop=False, is_own=False)

    def _is_native(self, target: Target) -> bool:
        return self._client.name in target.native
