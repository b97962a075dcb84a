"""What one request asks of its target, and how the answer is translated: an attempt without the IO.

The endpoint chooses the call.  Chat requests are in the hub's own shape.  Requests of other APIs go
through a client dialect, which translates between that API and the hub.  If the target speaks the
client's API itself, request and answer pass through unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from trio_router.dialects.answer import AnswerReader
from trio_router.dialects.base import AnswerIdentity, UpstreamRequest
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
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from trio_router.dialects.base import ClientDialect
    from trio_router.dialects.taps import Tap
    from trio_router.errors import RouterError
    from trio_router.routing.target import Target


_CONVERSATION = frozenset({"messages", "input", "prompt"})


class Translator(Protocol):
    """One stream, from the upstream's bytes to the client's.  See StreamTranslator."""

    reader: AnswerReader

    def receive_data(self, data: bytes) -> bytes: ...

    def receive_eof(self, *, clean: bool = True) -> bytes: ...

    def fail(self, error: RouterError) -> bytes:
        """What ends the stream badly, after what this translator has given so far."""
        ...

    def going_on(self, reader: AnswerReader, taps: Sequence[Tap]) -> Translator:
        """Another target's answer, for a client who has got what this translator has given so far."""
        ...


class Whole(Protocol):
    """One answer without streaming.  See WholeAnswer."""

    reader: AnswerReader

    def translate(self, body: bytes) -> bytes: ...


class AnyCall(Protocol):
    """One request, however its answer comes."""

    is_heavy: bool  # what is done with the request belongs into a thread, see `heavy`

    def request_for(self, target: Target) -> UpstreamRequest:
        """Raises InvalidRequest for what `target` cannot do."""
        ...

    def forget(self) -> None:
        """It will not be asked again: a long prompt is let go."""


class WholeCall(AnyCall, Protocol):
    """A request whose answer comes whole."""

    max_answer: int | None  # bytes of an answer; None: `stream.max_event`

    def whole(self, target: Target, identity: AnswerIdentity, content_type: str) -> Whole: ...


class StreamCall(AnyCall, Protocol):
    """A request whose answer is streamed."""

    keepalive: bytes  # what bridges silence

    def translator(
        self,
        target: Target,
        identity: AnswerIdentity,
        content_type: str,
        taps: Sequence[Tap] = (),
    ) -> Translator: ...

    def fail(self, error: RouterError) -> bytes:
        """The frames that end a stream with `error` if only keepalive comments have been sent."""
        ...


class HubCall(StreamCall, Protocol):
    """A streamed request that has a shape in the hub: another target can continue its answer."""

    @property
    def chat(self) -> dict[str, Any]:
        """The request in the hub's shape, as any target gets it."""
        ...

    def reader(self, target: Target, identity: AnswerIdentity, content_type: str) -> AnswerReader: ...

    def request_with(self, target: Target, chat: dict[str, Any]) -> UpstreamRequest:
        """The upstream's request for `chat`, which replaces this request's own body."""
        ...


class Call(HubCall, WholeCall, Protocol):
    """A request for text: `is_stream` says which of the two ways the client wants its answer."""

    is_stream: bool
    dropped: Sequence[str]  # what an agent sends, and the target asked last does not have


class ChatCall:
    """`POST /v1/chat/completions`.  `body` has been checked and is in the hub's shape."""

    keepalive = KEEPALIVE
    max_answer: int | None = None
    dropped: Sequence[str] = ()

    def __init__(self, body: dict[str, Any], *, is_heavy: bool = False) -> None:
        self.is_heavy = is_heavy
        self.is_stream = bool(body.get("stream"))
        self._body = body
        self._with_usage = bool((body.get("stream_options") or {}).get("include_usage"))

    def request_for(self, target: Target) -> UpstreamRequest:
        return _chat_request(target, self._body, is_stream=self.is_stream)

    def translator(
        self,
        target: Target,
        identity: AnswerIdentity,
        content_type: str,
        taps: Sequence[Tap] = (),
    ) -> Translator:
        reader = self.reader(target, identity, content_type)
        return StreamTranslator(reader, taps, with_usage=self._with_usage)

    def whole(self, target: Target, identity: AnswerIdentity, content_type: str) -> Whole:
        return WholeAnswer(target.dialect, identity, content_type, target.rules)

    def fail(self, error: RouterError) -> bytes:
        return render_error(error)

    def forget(self) -> None:
        self._body = {}

    # -- what continuing an answer needs, see HubCall

    @property
    def chat(self) -> dict[str, Any]:
        return self._body

    def reader(self, target: Target, identity: AnswerIdentity, content_type: str) -> AnswerReader:
        return AnswerReader(target.dialect, identity, content_type, target.rules)

    def request_with(self, target: Target, chat: dict[str, Any]) -> UpstreamRequest:
        return _chat_request(target, chat, is_stream=self.is_stream)


class FreeFormChatCall(ChatCall):
    """A chat request some of whose tools take free-form text; `free` are their names.

    They are functions in `body`, and their calls are named back.  `dropped` is what was left out.
    """

    def __init__(self, body: dict[str, Any], free: frozenset[str], dropped: Sequence[str]) -> None:
        super().__init__(body)
        self.dropped = dropped
        self._free = free

    def translator(
        self,
        target: Target,
        identity: AnswerIdentity,
        content_type: str,
        taps: Sequence[Tap] = (),
    ) -> Translator:
        own = (FreeFormCalls(self._free),) if self._free else ()
        return super().translator(target, identity, content_type, (*taps, *own))

    def whole(self, target: Target, identity: AnswerIdentity, content_type: str) -> Whole:
        answer = super().whole(target, identity, content_type)
        return FreeFormAnswer(answer, self._free) if self._free else answer


class ClientCall:
    """A request in the API of `client`.  `body` is the client's own, checked.

    `headers` are the client's, with lower-case names; those that belong to the API are forwarded.
    """

    max_answer: int | None = None

    def __init__(
        self,
        client: ClientDialect,
        body: dict[str, Any],
        headers: Collection[tuple[bytes, bytes]] = (),
        *,
        is_heavy: bool = False,
    ) -> None:
        self.is_heavy = is_heavy
        self.is_stream = bool(body.get("stream"))
        self.keepalive = client.keepalive
        self._client = client
        self._body = body
        own = client.native.forwarded
        self._headers = {k.decode(): v.decode("latin-1") for k, v in headers if k in own}
        self._is_agent = client.is_agent(headers)
        self._chats: dict[bool, dict[str, Any]] = {}  # by `drop`: unsupported fields left out or not
        self._left_out: list[str] = []
        self.dropped: Sequence[str] = ()

    def request_for(self, target: Target) -> UpstreamRequest:
        path = target.native.get(self._client.name)
        if path is None:
            chat = self._chat(drop=target.drop_unsupported)
            self.dropped = self._left_out
            return self.request_with(target, chat)
        self.dropped = ()
        ask_usage = target.ask_usage and self.is_stream
        body = self._client.native.request(target.body_for(self._body), ask_usage=ask_usage)
        return UpstreamRequest(path, dumps(body), self._headers)

    def translator(
        self,
        target: Target,
        identity: AnswerIdentity,
        content_type: str,
        taps: Sequence[Tap] = (),
    ) -> Translator:
        encoder = self._client.encoder(identity, self._body)
        if self._is_native(target):
            native = self._client.native
            reader = NativeReader(native, identity, content_type, target.rules)
            return NativeTranslator(native, reader, encoder, taps)
        return EncodedTranslator(self.reader(target, identity, content_type), encoder, taps)

    def whole(self, target: Target, identity: AnswerIdentity, content_type: str) -> Whole:
        answer = WholeAnswer(target.dialect, identity, content_type, target.rules)
        encoded = EncodedAnswer(answer, self._client, identity, self._body)
        if self._is_native(target):
            reader = NativeReader(self._client.native, identity, content_type, target.rules)
            return NativeAnswer(self._client.native, reader, encoded)
        return encoded

    def fail(self, error: RouterError) -> bytes:
        return self._client.encoder(AnswerIdentity("", 0, ""), self._body).fail(error)

    def forget(self) -> None:
        # Answers repeat parts of the request, but never the conversation, which is long.
        self._body = {name: value for name, value in self._body.items() if name not in _CONVERSATION}
        self._chats = {}

    def _chat(self, *, drop: bool) -> dict[str, Any]:
        if drop not in self._chats:
            if self._is_agent:
                chat, self._left_out = self._client.agents_request(self._body, drop_unsupported=drop)
            else:
                chat = self._client.chat_request(self._body, drop_unsupported=drop)
            self._chats[drop] = self._client.for_others(chat)
        return self._chats[drop]

    @property
    def chat(self) -> dict[str, Any]:
        return self._chat(drop=False)

    def reader(self, target: Target, identity: AnswerIdentity, content_type: str) -> AnswerReader:
        return AnswerReader(target.dialect, identity, content_type, target.rules)

    def request_with(self, target: Target, chat: dict[str, Any]) -> UpstreamRequest:
        return _chat_request(target, chat, is_stream=self.is_stream)

    def _is_native(self, target: Target) -> bool:
        return self._client.name in target.native


def _chat_request(target: Target, chat: dict[str, Any], *, is_stream: bool) -> UpstreamRequest:
    return target.dialect.build_request(
        target.body_for(chat),
        ask_usage=target.ask_usage and is_stream,
        drop_unsupported=target.drop_unsupported,
    )
