"""The records of a stream -> chunks.  A whole answer is a record of the same shape.

The API marks no end but a `finishReason`, which some models say in every record, and counts usage in
every record anew.  So both wait for the end of the body, where they are said once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trio_router.dialects.gemini.words import (
    FINISH,
    PLAIN,
    Part,
    logprobs_to_hub,
    url_citations,
    usage_to_hub,
)
from trio_router.wire.jsoncodec import dumps_text

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity, Chunk

_READ = frozenset({"content", "finishReason", "index", "logprobsResult"})  # of a candidate


@dataclass(slots=True)
class _Choice:
    """A candidate so far."""

    has_begun: bool = False
    text: list[str] = field(default_factory=list)
    calls: int = 0
    images: int = 0
    parts: int = 0
    signature: str = ""  # of what is no call: the last one counts
    finish: str | None = None  # in the API's word
    extra: dict[str, Any] = field(default_factory=dict)  # the candidate's other fields, as they are
    refusal: str = ""

    @property
    def has_said(self) -> bool:
        return bool(self.text or self.calls or self.images or self.parts)


class GeminiDecoder:
    """Records -> chunks: the role first; see `end` for the finish reasons and the usage."""

    def __init__(self, identity: AnswerIdentity) -> None:
        self._tail = identity.id.removeprefix("chatcmpl-")
        self._frame = identity.frame()
        self._is_named = False
        self._choices: dict[int, _Choice] = {}
        self._calls = 0  # of all choices
        self._usage: dict[str, Any] = {}
        self._feedback: dict[str, Any] = {}
        self.is_done = False

    def decode(self, record: dict[str, Any]) -> list[Chunk]:
        if not self._is_named:
            self._is_named = True
            self._frame["id"] = record.get("responseId") or self._frame["id"]
            self._frame["model"] = record.get("modelVersion") or self._frame["model"]
        _update(self._usage, record.get("usageMetadata"))
        _update(self._feedback, record.get("promptFeedback"))
        chunks: list[Chunk] = []
        for candidate in record.get("candidates") or ():
            chunks += self._candidate(candidate)
        return chunks

    def end(self, *, is_whole: bool) -> list[Chunk]:
        """What waits for the body's end.  `is_whole`: it was one record, which says all there is."""
        if blocked := self._feedback.get("blockReason"):
            self._block(str(blocked))
        chunks: list[Chunk] = []
        for index, choice in sorted(self._choices.items()):
            if choice.finish is None and is_whole and choice.has_said:
                choice.finish = "STOP"
            chunks += self._finish(index, choice)
        if self._usage:
            chunks.append({**self._frame, "choices": [], "usage": usage_to_hub(self._usage)})
        return chunks

    def _candidate(self, candidate: dict[str, Any]) -> list[Chunk]:
        index = candidate.get("index")
        index = index if isinstance(index, int) else 0  # which is not said, as Google's JSON has it
        choice = self._choices.setdefault(index, _Choice())
        parts = (candidate.get("content") or {}).get("parts") or ()
        deltas = [delta for part in parts for delta in self._part(part, choice)]
        logprobs = candidate.get("logprobsResult")
        if not deltas and (logprobs or not choice.has_begun):
            deltas = [{}]
        if deltas and not choice.has_begun:
            choice.has_begun = True
            deltas[0] = {"role": "assistant", **deltas[0]}
        chunks = [self._chunk(index, delta) for delta in deltas]
        if logprobs:
            chunks[-1]["choices"][0]["logprobs"] = logprobs_to_hub(logprobs)
        if reason := candidate.get("finishReason"):
            choice.finish = str(reason)
        for name, value in candidate.items():
            if name not in _READ:
                _keep(choice.extra, name, value)
        return chunks

    def _part(self, part: Part, choice: _Choice) -> list[dict[str, Any]]:
        signature = part.get("thoughtSignature") or ""
        if (call := part.get("functionCall")) is not None:
            return [{"tool_calls": [self._call(call, signature, choice)]}]
        if (data := part.get("inlineData")) is not None:
            return [{"images": [_image(data, signature, choice)]}]
        if "text" not in part and part.keys() - {"thought", "thoughtSignature"}:
            # Code that it ran, and whatever else has no counterpart: kept as it is.
            place, choice.parts = choice.parts, choice.parts + 1
            return [{"extra_content": {"google": {"parts": [{"index": place, "part": part}]}}}]
        choice.signature = signature or choice.signature
        text = part.get("text") or ""
        if not isinstance(text, str):
            raise TypeError("text is no string")
        if not text:
            return []
        if part.get("thought"):
            return [{"reasoning_content": text}]
        choice.text.append(text)
        return [{"content": text}]

    def _call(self, call: dict[str, Any], signature: str, choice: _Choice) -> dict[str, Any]:
        """Calls come whole, mostly without an id."""
        number, self._calls = self._calls, self._calls + 1
        index, choice.calls = choice.calls, choice.calls + 1
        arguments = call.get("args")
        told: dict[str, Any] = {
            "index": index,
            "id": call.get("id") or f"call_{self._tail}_{number}",
            "type": "function",
            "function": {
                "name": call["name"],
                "arguments": dumps_text({} if arguments is None else arguments),
            },
        }
        return _signed(told, signature)

    def _block(self, reason: str) -> None:
        """The prompt was refused: there is no candidate, or none that ends."""
        if not self._choices:
            self._choices[0] = _Choice(refusal=str(self._feedback.get("blockReasonMessage") or ""))
        for choice in self._choices.values():
            if choice.finish is None:
                choice.finish = "PROMPT_BLOCKED"
                choice.extra |= {"promptFeedback": self._feedback, "native_finish_reason": reason}

    def _finish(self, index: int, choice: _Choice) -> list[Chunk]:
        if choice.finish is None:
            return []
        delta: dict[str, Any] = {} if choice.has_begun else {"role": "assistant"}
        if choice.signature:
            _signed(delta, choice.signature)
        grounding = choice.extra.get("groundingMetadata")
        if isinstance(grounding, dict) and (found := url_citations(grounding, "".join(choice.text))):
            delta["annotations"] = found
        extra = choice.extra
        if choice.finish == "PROMPT_BLOCKED":
            reason = "content_filter"
            if choice.refusal:
                delta["refusal"] = choice.refusal
        else:
            reason = FINISH.get(choice.finish, "stop")
            if choice.calls and reason == "stop":
                reason = "tool_calls"
            if choice.finish not in PLAIN:
                extra = {**extra, "native_finish_reason": choice.finish}
        if reason in ("stop", "length") and not (choice.text or choice.calls):
            delta["content"] = ""  # clients take an answer without any for none
        chunk = self._chunk(index, delta)
        chunk["choices"][0] = {**extra, **chunk["choices"][0], "finish_reason": reason}
        return [chunk]

    def _chunk(self, index: int, delta: dict[str, Any]) -> Chunk:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        return {**self._frame, "choices": [choice]}


def _image(data: dict[str, Any], signature: str, choice: _Choice) -> dict[str, Any]:
    """An image, or another medium, as gateways give it: `images` beside the text."""
    index, choice.images = choice.images, choice.images + 1
    url = f"data:{data.get('mimeType') or 'application/octet-stream'};base64,{data.get('data') or ''}"
    return _signed({"index": index, "type": "image_url", "image_url": {"url": url}}, signature)


def _signed(told: dict[str, Any], signature: str) -> dict[str, Any]:
    """Where Google's own OpenAI-compatible endpoint has the thought signature."""
    if signature:
        told["extra_content"] = {"google": {"thought_signature": signature}}
    return told


def _update(held: dict[str, Any], fields: Any) -> None:
    """What is said again replaces what was said before; what is not, stays."""
    held |= {name: value for name, value in (fields or {}).items() if value is not None}


def _keep(held: dict[str, Any], name: str, value: Any) -> None:
    """Grounding comes in several records, some of them empty."""
    if isinstance(value, dict) and isinstance(held.get(name), dict):
        held[name] = {**held[name], **{k: v for k, v in value.items() if v}}
    elif value is not None:
        held[name] = value
