"""A request whose answer may break off and be gone on with by another target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from trio_router.errors import Diverged
from trio_router.routing.replay import Differs, Replay, Sent

if TYPE_CHECKING:
    from trio_router.dialects.answer import AnswerReader, Item
    from trio_router.dialects.base import AnswerIdentity, UpstreamRequest
    from trio_router.errors import RouterError
    from trio_router.relay.call import Call, HubCall, Translator, Whole
    from trio_router.routing.target import Target


class ResumableCall:
    """The call `inner`; what of its answer was sent is remembered, and so is the request.

    With `is_begun` set, the next attempt goes on where the last one broke off: with `prefill` it is
    given what was sent as the beginning of its answer, else it answers anew, and is read against that.
    """

    def __init__(self, inner: HubCall, *, prefill: bool) -> None:
        self._hub = inner
        self._inner = cast("Call", inner)
        self._prefill = prefill
        self.is_stream = self._inner.is_stream
        self.is_heavy = self._inner.is_heavy
        self.keepalive = self._inner.keepalive
        self.max_answer = self._inner.max_answer
        self.is_begun = False
        self._sent = Sent()
        self._translator: Translator | None = None

    @property
    def can_go_on(self) -> bool:
        return not self._prefill or self._sent.text_to_continue() is not None

    def request_for(self, target: Target) -> UpstreamRequest:
        text = self._sent.text_to_continue() if self.is_begun and self._prefill else None
        if text and target.dialect.trims_beginning:
            text = text.rstrip()
        if not text:
            return self._inner.request_for(target)
        chat = self._hub.chat
        beginning = {"role": "assistant", "content": text}
        return self._hub.request_with(target, {**chat, "messages": [*chat["messages"], beginning]})

    def translator(self, target: Target, identity: AnswerIdentity, content_type: str) -> Translator:
        if self.is_begun and self._translator is not None:
            # The client's side goes on: only what is read is another answer.
            translator = self._translator
            translator.reader = self._hub.reader(target, identity, content_type)
            replay = self._replay(target)
        else:
            # Attempts may race: whose answer is gone on with is known when `went_out` is called.
            self._sent = Sent()
            translator = self._inner.translator(target, identity, content_type)
            replay = None
        translator.reader = cast("AnswerReader", _Listener(translator.reader, self._sent, replay))
        return translator

    def _replay(self, target: Target) -> Replay:
        if not self._prefill:
            return Replay(self._sent)
        return Replay.continuing(self._sent, is_trimmed=target.dialect.trims_beginning)

    def went_out(self, translator: Translator) -> None:
        """The answer that `translator` reads is the one that the client gets."""
        self._translator = translator
        self._sent = cast("_Listener", translator.reader).sent

    def whole(self, target: Target, identity: AnswerIdentity, content_type: str) -> Whole:
        return self._inner.whole(target, identity, content_type)

    def fail(self, error: RouterError) -> bytes:
        return self._inner.fail(error)

    def forget(self) -> None:
        """Not before the end: it may have to be asked again."""

    def forget_all(self) -> None:
        self._inner.forget()
        self._sent = Sent()


class _Listener:
    """An answer's reader; notes what it gives, and keeps back what the client has got already."""

    def __init__(self, reader: AnswerReader, sent: Sent, replay: Replay | None) -> None:
        self._reader = reader
        self.sent = sent
        self._replay = replay

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def receive_data(self, data: bytes) -> list[Item]:
        return self._heard(self._reader.receive_data(data), at_end=self._reader.is_done)

    def receive_eof(self, *, clean: bool = True) -> list[Item]:
        items = self._reader.receive_eof(clean=clean)
        return self._heard(items, at_end=self._reader.failure is None)

    def _heard(self, items: list[Item], *, at_end: bool) -> list[Item]:
        if self._replay is not None:
            items = self._new(items, self._replay, at_end=at_end)
        for item in items:
            self.sent.add(item.chunk)
        return items

    def _new(self, items: list[Item], replay: Replay, *, at_end: bool) -> list[Item]:
        new: list[Item] = []
        try:
            for item in items:
                if (chunk := replay.take(item.chunk)) is not None:
                    item.chunk, item.event = chunk, None
                    new.append(item)
            if at_end:
                replay.end()
        except Differs as fault:
            self._reader.failure = Diverged(f"another target's answer cannot be gone on with: {fault}")
            self._reader.is_done = False
        return new
