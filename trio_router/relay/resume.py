"""A request whose answer may break off and be continued by another target."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from trio_router.errors import Diverged
from trio_router.routing.replay import Differs, Replay, Sent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_router.dialects.answer import AnswerReader, Item
    from trio_router.dialects.base import UpstreamRequest
    from trio_router.dialects.taps import Tap
    from trio_router.errors import RouterError
    from trio_router.relay.call import HubCall, OpenedAnswer, Translator
    from trio_router.routing.target import Target


class ResumableCall:
    """The call `inner`; it remembers the request, and what of its answer was sent.

    With `is_begun` set, the next attempt continues where the last one broke off: with `prefill` the
    target is given what was sent as the beginning of its answer, else it answers from the beginning,
    and its answer is read against what was sent.
    """

    def __init__(self, inner: HubCall, *, prefill: bool) -> None:
        self._inner = inner
        self._prefill = prefill
        self.is_heavy = inner.is_heavy
        self.keepalive = inner.keepalive
        self.is_begun = False
        self._sent = Sent()
        self._translator: Translator | None = None  # whose frames the client gets
        self._heard: WeakKeyDictionary[Translator, Sent] = WeakKeyDictionary()  # of attempts that race

    @property
    def can_go_on(self) -> bool:
        """Whether the next attempt can continue the answer.  A prefill continues text only."""
        return not self._prefill or self._sent.text_to_continue() is not None

    def request_for(self, target: Target) -> UpstreamRequest:
        text = self._sent.text_to_continue() if self.is_begun and self._prefill else None
        if text and target.dialect.trims_beginning:
            text = text.rstrip()
        if not text:
            return self._inner.request_for(target)
        chat = self._inner.chat
        beginning = {"role": "assistant", "content": text}
        return self._inner.request_with(target, {**chat, "messages": [*chat["messages"], beginning]})

    def translator(self, answer: OpenedAnswer, taps: Sequence[Tap] = ()) -> Translator:
        if self.is_begun and self._translator is not None:
            # The client's side goes on: only what is read is another answer.
            sent = self._sent
            own: list[Tap] = [Replaying(self._replay(answer.target)), Remembering(sent)]
            translator = self._translator.going_on(answer.reader(), [*own, *taps])
        else:
            # Attempts may race: whose answer is continued is known when `went_out` is called.
            sent = Sent()
            own = [Remembering(sent)]
            translator = self._inner.translator(answer, [*own, *taps])
        self._heard[translator] = sent
        return translator

    def _replay(self, target: Target) -> Replay:
        if not self._prefill:
            return Replay(self._sent)
        return Replay.continuing(self._sent, is_trimmed=target.dialect.trims_beginning)

    def went_out(self, translator: Translator) -> None:
        """Notes that the client gets the answer of `translator`, of all that were asked for."""
        self._translator = translator
        self._sent = self._heard[translator]

    def fail(self, error: RouterError) -> bytes:
        return self._inner.fail(error)

    def forget(self) -> None:
        """Keeps the request: it may have to be retried.  `forget_all` frees it at the end."""

    def forget_all(self) -> None:
        """Frees the request, and what was sent of its answer."""
        self._inner.forget()
        self._sent = Sent()


class Remembering:
    """A tap that notes in `sent` what the client gets."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent

    def take(self, items: list[Item], reader: AnswerReader, *, at_end: bool) -> list[Item]:
        for item in items:
            self._sent.add(item.chunk)
        return items


class Replaying:
    """A tap that keeps back what the client has got already."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def take(self, items: list[Item], reader: AnswerReader, *, at_end: bool) -> list[Item]:
        new: list[Item] = []
        try:
            for item in items:
                if (chunk := self._replay.take(item.chunk)) is not None:
                    item.chunk, item.event = chunk, None
                    new.append(item)
            if at_end:
                self._replay.end()
        except Differs as fault:
            reader.refuse(Diverged(f"another target's answer cannot be gone on with: {fault}"))
        return new
