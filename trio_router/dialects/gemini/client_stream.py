"""Chunks -> the records of a `streamGenerateContent` answer, and a completion -> the one record of it.

A record holds whole calls, so the pieces of a call wait here.  The finish reasons wait for the end, to
stand in one record with the usage, as Google says them.  Each record has a part with something in it:
the SDKs' chats take an answer without for a broken one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.gemini.client_words import (
    citations,
    finish_reason,
    logprobs_from_hub,
    usage_from_hub,
)
from trio_router.dialects.gemini.seals import sealed
from trio_router.dialects.hub import CallSorter, as_dict, dicts, legacy_call, text_of
from trio_router.wire.json_end import JSONEnd
from trio_router.wire.jsoncodec import JSONError, dumps, loads_exactly

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity, Chunk, Completion
    from trio_router.dialects.gemini.words import Part

Record = dict[str, Any]
# What a choice has of Gemini's own, where the answer came from there.
_OWN = (
    "groundingMetadata",
    "citationMetadata",
    "safetyRatings",
    "urlContextMetadata",
    "finishMessage",
    "avgLogprobs",
)


class RecordWriter:
    """One answer; see `add` and `end`."""

    def __init__(self, identity: AnswerIdentity) -> None:
        self._identity = identity
        self._frame: Record = {}
        self._candidates: dict[int, _Candidate] = {}
        self._usage: Any = None

    def add(self, chunk: Chunk) -> Record | None:
        """What can be said now; None if that is nothing.  A whole completion is a chunk too."""
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        self._name(chunk)
        told = []
        for choice in dicts(chunk.get("choices")):
            index = choice.get("index")
            index = index if isinstance(index, int) else 0
            candidate = self._candidates.get(index)
            if candidate is None:
                candidate = self._candidates[index] = _Candidate(f"{self._tail}_{index}")
            if parts := candidate.take(choice):
                told.append({"content": {"parts": parts, "role": "model"}, "index": index})
        return {"candidates": told, **self._frame} if told else None

    def end(self) -> Record:
        """The last record: what has waited, finish reasons, usage."""
        self._name({})
        ends = [self._candidates[index].end(index) for index in sorted(self._candidates)]
        told = [end for end in ends if end]  # none of a prompt that was refused
        record: Record = {"candidates": told} if told else {}
        for candidate in self._candidates.values():
            if candidate.feedback is not None:
                record["promptFeedback"] = candidate.feedback
        if (usage := usage_from_hub(self._usage)) is not None:
            record["usageMetadata"] = usage
        return {**record, **self._frame}

    @property
    def _tail(self) -> str:
        return self._identity.id.removeprefix("chatcmpl-")

    def _name(self, chunk: Chunk) -> None:
        if not self._frame:
            self._frame = {
                "modelVersion": chunk.get("model") or self._identity.model,
                "responseId": chunk.get("id") or self._identity.id,
            }


class _Call:
    """A call so far."""

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.name = ""
        self.signature = ""
        self._arguments: list[str] = []
        self._end = JSONEnd()

    @property
    def is_whole(self) -> bool:
        return bool(self.name) and self._end.is_whole and any(self._arguments)

    def add(self, arguments: Any) -> None:
        text = arguments if isinstance(arguments, str) else dumps(arguments).decode()
        self._arguments.append(text)
        self._end.add(text)

    def part(self) -> Part:
        told = {"name": self.name, "args": _args("".join(self._arguments)), "id": self.id}
        return _signed({"functionCall": told}, self.signature)


class _Candidate:
    def __init__(self, tail: str) -> None:
        self._tail = tail
        self._sorter = CallSorter()
        self._calls: list[_Call] = []
        self._told = 0  # calls
        self._details: dict[Any, dict[str, Any]] = {}  # of reasoning, that no part has carried yet
        self._signature = ""
        self._choice: dict[str, Any] = {}
        self._citations: list[dict[str, Any]] = []
        self._logprobs: list[Any] = []
        self.feedback: Any = None

    def take(self, choice: dict[str, Any]) -> list[Part]:
        for name, value in choice.items():
            if name not in ("delta", "message", "index", "logprobs") and value is not None:
                self._choice[name] = value
        self._logprobs += dicts(as_dict(choice.get("logprobs")).get("content"))
        delta = choice.get("delta")
        if delta is None:
            delta = choice.get("message")
        if not isinstance(delta, dict):
            return []
        content = delta.get("content")
        if type(content) is str and len(delta) == 1:  # most chunks are a piece of text alone
            return [{"text": content}] if content else []
        return self._parts(delta, content)

    def _parts(self, delta: dict[str, Any], content: Any) -> list[Part]:
        parts: list[Part] = []
        text, own = text_of(content)
        if thinking := self._reasoning(delta) or own:
            parts.append({"text": thinking, "thought": True})
        google = as_dict(as_dict(delta.get("extra_content")).get("google"))
        parts += [item["part"] for item in dicts(google.get("parts")) if as_dict(item.get("part"))]
        if isinstance(google.get("thought_signature"), str):
            self._signature = google["thought_signature"]
        refusal = delta.get("refusal")
        text += refusal if isinstance(refusal, str) else ""
        if text:
            parts.append({"text": text})
        parts += [made for one in dicts(delta.get("images")) if (made := _picture(one))]
        self._citations += citations(delta)
        self._note_calls(delta)
        return parts + self._whole_calls()

    def _reasoning(self, delta: dict[str, Any]) -> str:
        """The thinking in a delta.  Details and plain text say the same."""
        text = ""
        for place, detail in enumerate(dicts(delta.get("reasoning_details"))):
            self._keep(detail, place)
            said = detail.get("text") or detail.get("summary")
            text += said if isinstance(said, str) else ""
        plain = delta.get("reasoning_content") or delta.get("reasoning")
        return text or (plain if isinstance(plain, str) else "")

    def _keep(self, detail: dict[str, Any], place: int) -> None:
        key = detail.get("index", detail.get("id", place))
        held = self._details.setdefault(key, {})
        for name, value in detail.items():
            if name in ("text", "summary") and isinstance(value, str):
                held[name] = held.get(name, "") + value
            elif value is not None:
                held[name] = value

    def _note_calls(self, delta: dict[str, Any]) -> None:
        pieces = dicts(delta.get("tool_calls"))
        if legacy := legacy_call(delta):
            pieces = [*pieces, {"index": "function_call", "function": legacy}]
        for piece in pieces:
            function, given = as_dict(piece.get("function")), piece.get("id")
            name = function.get("name")
            number = self._sorter.number(piece.get("index"), given, has_name=bool(name))
            if number == len(self._calls):
                is_named = isinstance(given, str) and bool(given)
                self._calls.append(_Call(str(given) if is_named else f"call_{self._tail}_{number}"))
            call = self._calls[number]
            call.name = call.name or (name if isinstance(name, str) else "")
            google = as_dict(as_dict(piece.get("extra_content")).get("google"))
            if isinstance(google.get("thought_signature"), str):
                call.signature = google["thought_signature"]
            if function.get("arguments") is not None:
                call.add(function["arguments"])

    def _whole_calls(self, *, at_end: bool = False) -> list[Part]:
        """In their order, each as soon as the next one has begun: more of it cannot come then."""
        parts: list[Part] = []
        while self._told < len(self._calls) - (not at_end):
            call = self._calls[self._told]
            if not (call.is_whole or at_end):
                break
            if not call.signature:
                call.signature = self._seal()
            parts.append(call.part())
            self._told += 1
        return parts

    def _seal(self) -> str:
        """What a provider wants to see again of the reasoning before this; empty if nothing."""
        kept, self._details = list(self._details.values()), {}
        if any(detail.get("signature") or detail.get("data") for detail in kept):
            return sealed(kept)
        return ""

    def end(self, index: int) -> Record:
        """The last candidate of a stream; of a whole answer what follows the first parts."""
        parts = self._whole_calls(at_end=True)
        choice = self._choice
        if choice.get("promptFeedback") is not None:
            self.feedback = choice["promptFeedback"]
            return {}
        if signature := self._signature or self._seal():
            parts.append({"text": "", "thoughtSignature": signature})
        told: Record = {
            "content": {"parts": parts or [{"text": ""}], "role": "model"},
            "finishReason": finish_reason(choice, has_calls=bool(self._calls)),
            "index": index,
        }
        if told["finishReason"] is None:
            del told["finishReason"]
        if (logprobs := logprobs_from_hub({"content": self._logprobs})) is not None:
            told["logprobsResult"] = logprobs
        if self._citations:
            told["citationMetadata"] = {"citationSources": self._citations}
        return told | {name: choice[name] for name in _OWN if choice.get(name) is not None}


def _args(text: str) -> Any:
    """The object that the API has.  What is none stands in one, so that the model can see it."""
    if not text.strip():
        return {}
    try:
        value = loads_exactly(text.encode(errors="surrogatepass"))
    except JSONError:
        value = text
    if value is None:  # what some models call a function without parameters with
        return {}
    return value if isinstance(value, dict) else {"INVALID_JSON": text}


def _picture(image: dict[str, Any]) -> Part | None:
    """A picture in the answer; None for one that is elsewhere."""
    url = as_dict(image.get("image_url")).get("url")
    if not isinstance(url, str) or not url.startswith("data:"):
        return None
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    google = as_dict(as_dict(image.get("extra_content")).get("google"))
    part = {"inlineData": {"mimeType": kind, "data": data}}
    return _signed(part, str(google.get("thought_signature") or ""))


def _signed(part: Part, signature: str) -> Part:
    return {**part, "thoughtSignature": signature} if signature else part


def whole(completion: Completion, identity: AnswerIdentity) -> Record:
    """A completion as the one record of an answer: the same as its stream, joined."""
    writer = RecordWriter(identity)
    # Perplexity puts an empty delta beside the message.
    given = dicts(completion.get("choices"))
    choices = [{k: v for k, v in choice.items() if k != "delta"} for choice in given]
    first = writer.add({**completion, "choices": choices}) or {}
    record = writer.end()
    before = {one["index"]: one["content"]["parts"] for one in first.get("candidates", ())}
    for candidate in record.get("candidates", ()):
        content = candidate["content"]
        parts = before.get(candidate["index"], []) + content["parts"]
        content["parts"] = [part for part in parts if part != {"text": ""}] or [{"text": ""}]
    return record
