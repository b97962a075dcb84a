"""Counting a request's tokens: the provider's own endpoint where it has one, else an estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import UpstreamRequest
from trio_router.dialects.native import PlainAnswer
from trio_router.errors import MalformedJSON, NetworkError, NotFound, UpstreamError, UpstreamTimeout
from trio_router.relay.forwarded import allowed, forwarded
from trio_router.relay.side_calls import SideCall
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trio_router.dialects.answer import AnswerReader
    from trio_router.dialects.base import ClientDialect, TokenCounter
    from trio_router.errors import RouterError
    from trio_router.relay.call import OpenedAnswer, Whole
    from trio_router.routing.target import Target

_BYTES_A_TOKEN = 4  # a rough guess, as of answers whose upstream reports no usage
_MEDIUM = 1600  # tokens of a picture or a page; Anthropic counts no picture as more
_COUNTED = ("system", "messages", "tools")
_MISSING = (404, 405, 501)  # how upstreams say that they have no such endpoint

_USES_NOTHING = {"prompt_tokens": 0, "completion_tokens": 0}  # no provider takes money for counting


class CountCall(SideCall):
    """`POST /v1/messages/count_tokens`."""

    def __init__(
        self,
        client: ClientDialect,
        body: dict[str, Any],
        headers: Iterable[tuple[bytes, bytes]] = (),
        *,
        is_heavy: bool = False,
    ) -> None:
        super().__init__(body, is_heavy=is_heavy)
        self._client = client
        self._headers = forwarded(client.native, headers)

    def can_ask(self, target: Target) -> bool:
        """Whether the target's upstream may have an endpoint that counts."""
        return self._own_path(target) is not None or _counter(target) is not None

    def is_missing(self, target: Target, error: RouterError) -> bool:
        """Whether `error`, the answer to this call, says that there is no such endpoint."""
        if error.status in _MISSING:
            return True
        is_out = isinstance(error, NetworkError | UpstreamTimeout)
        return self.is_guess(target) and isinstance(error, UpstreamError) and not is_out

    def is_guess(self, target: Target) -> bool:
        """Whether nothing says that the target's upstream really has such an endpoint."""
        counter = _counter(target)
        return self._own_path(target) is None and counter is not None and counter.is_guess

    def request_for(self, target: Target) -> UpstreamRequest:
        """Without the configuration's defaults: they concern answers, and endpoints refuse them."""
        if (path := self._own_path(target)) is not None:
            return self._own_request(path, target)
        counter = _counter(target)
        if counter is None:
            raise NotFound(f"{target.provider} cannot count tokens: its API has no such endpoint")
        chat = self._client.chat_request(self._asked(), drop_unsupported=True)
        asked = {**self._client.for_others(chat), "model": target.upstream_model}
        return counter.request(asked, target.base_url)

    def whole(self, answer: OpenedAnswer) -> Whole:
        reader, target = answer.reader(), answer.target
        counter = _counter(target)
        reader.usage = dict(_USES_NOTHING)
        if self._own_path(target) is not None or counter is None:
            return PlainAnswer(reader)
        return _Counted(reader, counter, self.told)

    # -- what depends on the client's API

    def _own_request(self, path: str, target: Target) -> UpstreamRequest:
        """To a target that speaks the client's own API, which has `path` there."""
        body = {**self._body, "model": target.upstream_model}
        return UpstreamRequest(f"{path}/count_tokens", dumps(body), allowed(self._headers, target))

    def _asked(self) -> dict[str, Any]:
        """What is counted, as a request in the client's API for an answer."""
        return {"max_tokens": 1, **self._body}

    @staticmethod
    def told(tokens: int) -> bytes:
        """The client's answer."""
        return dumps({"input_tokens": tokens})

    def estimated(self) -> bytes:
        """The answer where nobody can be asked."""
        return self.told(estimated_tokens([self._body.get(name) for name in _COUNTED]))

    def _own_path(self, target: Target) -> str | None:
        """Where the target speaks the client's own API, although a route may reach it another way."""
        if not target.dialect.counts_natively:
            return None
        own = target.dialect.native_paths(target.upstream_model, target.query)
        return own.get(self._client.name)


class _Counted(PlainAnswer):
    """What another API has counted, in the shape of the client's."""

    def __init__(
        self, reader: AnswerReader, counter: TokenCounter, told: Callable[[int], bytes]
    ) -> None:
        super().__init__(reader)
        self._counter = counter
        self._told = told

    def _read(self, body: bytes, value: dict[str, Any], text: bytes, wrong: int) -> bytes:
        super()._read(body, value, text, wrong)
        tokens = self._counter.tokens(value)
        if tokens is None:
            raise MalformedJSON("the upstream's answer does not tell how many tokens there are")
        return self._told(tokens)


def estimated_tokens(value: Any) -> int:
    """A guess by the size of what a model reads; at least 1."""
    size = 0
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            is_medium = one.startswith("data:") and ";base64," in one[:100]
            size += _MEDIUM * _BYTES_A_TOKEN if is_medium else len(one.encode(errors="replace"))
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, dict) and "media_type" in one and isinstance(one.get("data"), str):
            is_text = str(one["media_type"]).startswith("text/")
            size += len(one["data"]) if is_text else _MEDIUM * _BYTES_A_TOKEN
        elif isinstance(one, dict):
            size += sum(map(len, one))
            waiting += one.values()
        else:
            size += _BYTES_A_TOKEN
    return max(1, size // _BYTES_A_TOKEN)


def _counter(target: Target) -> TokenCounter | None:
    counter = target.dialect.counter
    return None if counter is not None and counter.is_guess and not target.has_tokenize else counter
