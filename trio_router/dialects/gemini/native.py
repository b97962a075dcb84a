"""The API as upstreams have it: what passes through is read for the record alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.gemini.names import camel
from trio_router.dialects.gemini.words import FINISH, usage_to_hub

if TYPE_CHECKING:
    from trio_router.dialects.base import AnswerIdentity, Chunk, ChunkDecoder

OWN = frozenset({"candidates", "promptFeedback", "usageMetadata"})  # one of these is in every record
# The hub's names in a configuration's `defaults` and `options`.
_CONFIG = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "max_completion_tokens": "maxOutputTokens",
    "max_tokens": "maxOutputTokens",
    "seed": "seed",
    "stop": "stopSequences",
}


def exposed(body: dict[str, Any]) -> dict[str, Any]:
    """`body`, whose settings stand beside its `generationConfig` too, under the hub's names.

    There a configuration's `defaults` and `options` meet them; `request` puts them back.
    """
    asked = body.get(_config_of(body))
    if not isinstance(asked, dict):
        return body
    own = {camel(name): value for name, value in asked.items()}
    return body | {ours: own[theirs] for ours, theirs in _CONFIG.items() if own.get(theirs) is not None}


def _config_of(body: dict[str, Any]) -> str:
    return "generation_config" if "generation_config" in body else "generationConfig"


def is_own(record: dict[str, Any]) -> bool:
    """Whether a record of an answer is in this API, by its shape."""
    return "choices" not in record and not record.keys().isdisjoint(OWN)


class GeminiApi:
    """See NativeApi.  `end` is what closes the framing."""

    needs_end = False
    forwarded: frozenset[bytes] = frozenset()
    tells_errors = False

    def __init__(self, end: bytes) -> None:
        self.end = end

    def request(self, body: dict[str, Any], *, ask_usage: bool) -> dict[str, Any]:
        """The path has the model and says whether to stream."""
        told = {k: v for k, v in body.items() if k not in ("model", "stream") and k not in _CONFIG}
        ours = {_CONFIG[k]: v for k, v in body.items() if k in _CONFIG and v is not None}
        if isinstance(ours.get("stopSequences"), str):
            ours["stopSequences"] = [ours["stopSequences"]]
        if ours:
            name = _config_of(told)
            asked = told.get(name)
            own = {camel(k): v for k, v in asked.items()} if isinstance(asked, dict) else {}
            told[name] = own | ours
        return told

    def recognises(self, record: dict[str, Any]) -> bool:
        return is_own(record)

    def whole(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return None

    def decoder(self, identity: AnswerIdentity) -> ChunkDecoder:
        return _Observer()

    def missing_end(self, decoder: ChunkDecoder | None) -> bytes:
        return self.end

    def says(self, event: dict[str, Any]) -> bool:
        return False

    def usage(self, record: dict[str, Any]) -> dict[str, Any] | None:
        usage = record.get("usageMetadata")
        return usage_to_hub(usage) if isinstance(usage, dict) else None


class _Observer:
    """What records say, as chunks that nobody is sent: in a word or two."""

    is_done = False  # the body's end says it

    def __init__(self) -> None:
        self._usage: dict[str, Any] = {}

    def decode(self, record: dict[str, Any]) -> list[Chunk]:
        choices = [_choice(candidate) for candidate in record.get("candidates") or ()]
        feedback = record.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            choices = choices or [{"index": 0, "delta": {}}]
            for choice in choices:
                choice["finish_reason"] = "content_filter"
        chunk: Chunk = {"choices": choices}
        if isinstance(usage := record.get("usageMetadata"), dict):
            self._usage |= usage  # the last record may leave out what the one before has told
            chunk["usage"] = usage_to_hub(self._usage)
        return [chunk]


def _choice(candidate: dict[str, Any]) -> dict[str, Any]:
    delta: dict[str, Any] = {}
    for part in (candidate.get("content") or {}).get("parts") or ():
        if text := part.get("text"):
            if not isinstance(text, str):
                raise TypeError("text is no string")
            delta = {"content": text}
        elif part.keys() - {"text", "thought", "thoughtSignature"}:
            delta = {"content": "a part"}
    told = {"index": candidate.get("index") or 0, "delta": delta}
    if reason := candidate.get("finishReason"):
        told["finish_reason"] = FINISH.get(str(reason), "stop")
    return told
