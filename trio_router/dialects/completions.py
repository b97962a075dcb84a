"""OpenAI's legacy text completions, `POST /v1/completions`, as a client's API.

Fields are from the API reference, platform.openai.com/docs/api-reference/completions.  For upstreams
that only chat, the prompt becomes a user's message.  If the client does not limit the answer's length,
the upstream's default counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.base import ClientDialect, Unsupported
from trio_router.dialects.hub import as_dict, dicts, text_of
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from trio_router.dialects.base import (
        AnswerIdentity,
        Chunk,
        ChunkDecoder,
        Completion,
        NativeApi,
        StreamEncoder,
    )
    from trio_router.errors import RouterError

_NUMBER = (int, float)
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "stream": ((bool,), "a boolean"),
    "stream_options": ((dict,), "an object"),
    "max_tokens": ((int,), "an integer"),
    "temperature": (_NUMBER, "a number"),
    "top_p": (_NUMBER, "a number"),
    "frequency_penalty": (_NUMBER, "a number"),
    "presence_penalty": (_NUMBER, "a number"),
    "n": ((int,), "an integer"),
    "best_of": ((int,), "an integer"),
    "logprobs": ((int,), "an integer"),
    "echo": ((bool,), "a boolean"),
    "suffix": ((str,), "a string"),
    "seed": ((int,), "an integer"),
    "stop": ((str, list), "a string or an array"),
    "logit_bias": ((dict,), "an object"),
    "user": ((str,), "a string"),
}
_OWN = frozenset({"prompt", "suffix", "echo", "best_of", "logprobs", "stream", "stream_options"})
_FINISH = {"tool_calls": "stop", "function_call": "stop"}
_DONE = b"data: [DONE]\n\n"
Event = dict[str, Any]


class CompletionsApi:
    """The API as upstreams have it: see NativeApi."""

    end = missing_end = _DONE
    forwarded: frozenset[bytes] = frozenset()
    tells_errors = False

    def request(self, body: dict[str, Any], *, ask_usage: bool) -> dict[str, Any]:
        if not ask_usage:
            return body
        return {
            **body,
            "stream_options": {**as_dict(body.get("stream_options")), "include_usage": True},
        }

    def recognises(self, record: dict[str, Any]) -> bool:
        if "choices" not in record or str(record.get("object")).startswith("chat."):
            return False
        choices = dicts(record["choices"])
        is_chat = any("text" not in c and (c.get("delta") or c.get("message")) for c in choices)
        return not is_chat

    def whole(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return None

    def decoder(self, identity: AnswerIdentity) -> ChunkDecoder:
        return CompletionsReader()

    def says(self, event: dict[str, Any]) -> bool:
        return False

    def usage(self, record: dict[str, Any]) -> dict[str, Any] | None:
        usage = record.get("usage")
        return usage if isinstance(usage, dict) else None


class CompletionsReader:
    """Text completions, streamed or whole, as the chunks of a chat."""

    is_done = False  # [DONE] says it

    def decode(self, record: dict[str, Any]) -> list[Chunk]:
        choices = [
            {
                "index": choice.get("index", place),
                "delta": {"content": choice.get("text")},
                "finish_reason": choice.get("finish_reason"),
                "error": choice.get("error"),
            }
            for place, choice in enumerate(dicts(record.get("choices")))
        ]
        return [{**record, "choices": choices}]


class CompletionsClient(ClientDialect):
    name = "completions"
    path = "/v1/completions"
    native: NativeApi = CompletionsApi()
    keepalive = b": keep-alive\n\n"

    def check(self, body: dict[str, Any]) -> None:
        if not isinstance(body.get("model"), str) or not body["model"]:
            raise InvalidRequest("model must be a string", param="model")
        for name, (kinds, words) in _KINDS.items():
            value = body.get(name)
            is_fine = bool in kinds if isinstance(value, bool) else isinstance(value, kinds)
            if value is not None and not is_fine:
                raise InvalidRequest(f"{name} must be {words}", param=name)

    def chat_request(self, body: dict[str, Any], *, drop_unsupported: bool = False) -> dict[str, Any]:
        self.check(body)
        _refuse(body, Unsupported(str(body["model"]), drop=drop_unsupported))
        told: dict[str, Any] = {"messages": [{"role": "user", "content": _prompt(body.get("prompt"))}]}
        if body.get("stream"):
            told |= {"stream": True, "stream_options": {"include_usage": True}}
        return {k: v for k, v in body.items() if k not in _OWN and v is not None} | told

    def for_others(self, chat: dict[str, Any]) -> dict[str, Any]:
        return chat

    def encoder(self, identity: AnswerIdentity, body: dict[str, Any]) -> StreamEncoder:
        return CompletionsEncoder(identity, body)

    def answer(
        self, completion: Completion, identity: AnswerIdentity, body: dict[str, Any]
    ) -> dict[str, Any]:
        choices = [_choice(c, c.get("message"), place) for place, c in enumerate(completion["choices"])]
        told = {**_frame(completion, identity), "choices": choices}
        if completion.get("usage"):
            told["usage"] = completion["usage"]
        return told

    def error_body(self, error: RouterError) -> dict[str, Any]:
        return _error_body(error)


class CompletionsEncoder:
    """One answer's chunks as the events of a text completion; usage comes last, to who asked for it."""

    def __init__(self, identity: AnswerIdentity, body: dict[str, Any]) -> None:
        self._identity = identity
        self._with_usage = bool(as_dict(body.get("stream_options")).get("include_usage"))
        self._frame: dict[str, Any] = {}
        self._usage: Any = None

    def encode(self, chunk: Chunk) -> bytes:
        self._begin(chunk)
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        choices = [
            # Perplexity puts the message so far beside each delta.
            _choice(choice, choice.get("delta", choice.get("message")), place)
            for place, choice in enumerate(dicts(chunk.get("choices")))
        ]
        return b"".join(
            self._event({"choices": [c]})
            for c in choices
            if c["text"] or c["finish_reason"] or "reasoning_content" in c
        )

    def passes(self, event: Event) -> bool:
        return self._with_usage or bool(event.get("choices")) or not event.get("usage")

    def finish(self) -> bytes:
        self._begin({})
        if not self._with_usage or self._usage is None:
            return _DONE
        return self._event({"choices": [], "usage": self._usage}) + _DONE

    def fail(self, error: RouterError) -> bytes:
        return _data(_error_body(error))

    def _begin(self, chunk: Chunk) -> None:
        if not self._frame:
            self._frame = _frame(chunk, self._identity)

    def _event(self, fields: dict[str, Any]) -> bytes:
        usage = {"usage": None} if self._with_usage else {}
        return _data({**self._frame, **usage, **fields})


def _refuse(body: dict[str, Any], unsupported: Unsupported) -> None:
    """What a chat has no word for."""
    for name in ("suffix", "echo"):
        if body.get(name):
            unsupported.field(name)
    if body.get("logprobs") is not None:
        unsupported.field("logprobs")
    if (body.get("best_of") or 1) > max(1, body.get("n") or 1):
        unsupported.field("best_of")


def _prompt(prompt: Any) -> str:
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and prompt and all(isinstance(one, str) for one in prompt):
        raise InvalidRequest("prompt: there can be one prompt, not several", param="prompt")
    why = "prompt must be a string: this model takes no tokens"
    raise InvalidRequest(why, param="prompt")


def _choice(choice: dict[str, Any], message: Any, place: int) -> dict[str, Any]:
    said = as_dict(message)
    text, thinking = text_of(said.get("content"))
    if isinstance(said.get("refusal"), str):
        text += said["refusal"]
    finish, index = choice.get("finish_reason"), choice.get("index")
    told = {
        "text": text,
        "index": index if isinstance(index, int) else place,
        "logprobs": None,
        "finish_reason": _FINISH.get(finish, finish) if isinstance(finish, str) else None,
    }
    reasoning = said.get("reasoning_content") or said.get("reasoning") or thinking
    if isinstance(reasoning, str) and reasoning:
        told["reasoning_content"] = reasoning  # the API has no field of its own for it
    return told


def _frame(answer: dict[str, Any], identity: AnswerIdentity) -> dict[str, Any]:
    return {
        "id": f"cmpl-{identity.id.removeprefix('chatcmpl-')}",
        "object": "text_completion",
        "created": identity.created,
        "model": answer.get("model") or identity.model,
    }


def _error_body(error: RouterError) -> dict[str, Any]:
    told = error.body()
    if error.param is not None and error.param.startswith("messages"):
        told["error"]["param"] = "prompt"
    return told


def _data(value: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % dumps(value)
