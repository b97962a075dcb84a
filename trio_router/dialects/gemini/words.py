"""The words of the Gemini API and what they are called in the hub.

From the API reference: `FinishReason`, `UsageMetadata`, `LogprobsResult`, `GroundingMetadata`.
"""

from __future__ import annotations

from typing import Any

Part = dict[str, Any]  # a part of a content

FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
}
# The others (OTHER, MALFORMED_FUNCTION_CALL...) are "stop", with the API's own word beside it.
PLAIN = frozenset({"STOP", "MAX_TOKENS"})  # of which the hub's own word tells all

# A call that another model made has no signature; with this one the API does not ask for it.
NO_SIGNATURE = "skip_thought_signature_validator"

_MODALITIES = ("audio", "image", "video", "document")
_USAGE = frozenset(
    {
        "promptTokenCount",
        "candidatesTokenCount",
        "totalTokenCount",
        "thoughtsTokenCount",
        "cachedContentTokenCount",
        "toolUsePromptTokenCount",
        "promptTokensDetails",
        "candidatesTokensDetails",
    }
)


def usage_to_hub(usage: dict[str, Any]) -> dict[str, Any]:
    """Thinking counts as the answer's, what its own tools read as the prompt's: so the sum is whole."""
    tools, thoughts = _count(usage, "toolUsePromptTokenCount"), _count(usage, "thoughtsTokenCount")
    prompt = _count(usage, "promptTokenCount") + tools
    answer = _count(usage, "candidatesTokenCount") + thoughts
    prompt_details = _by_modality(usage.get("promptTokensDetails"))
    prompt_details["cached_tokens"] = _count(usage, "cachedContentTokenCount")
    if tools:
        prompt_details["tool_use_tokens"] = tools
    answer_details = _by_modality(usage.get("candidatesTokensDetails"))
    answer_details["reasoning_tokens"] = thoughts
    told: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        # A last record may leave out the answer's tokens, in its sum too.
        "total_tokens": max(_count(usage, "totalTokenCount"), prompt + answer),
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": answer_details,
    }
    return told | {k: v for k, v in usage.items() if k not in _USAGE and v is not None}


def _by_modality(details: Any) -> dict[str, int]:
    told: dict[str, int] = {}
    for detail in dicts(details):
        name = str(detail.get("modality")).lower()
        if name in _MODALITIES:
            told[f"{name}_tokens"] = _count(detail, "tokenCount")
    return told


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def logprobs_to_hub(result: dict[str, Any]) -> dict[str, Any]:
    tops = result.get("topCandidates") or ()
    content = []
    for place, chosen in enumerate(result.get("chosenCandidates") or ()):
        top = tops[place].get("candidates") if place < len(tops) else None
        content.append({**_logprob(chosen), "top_logprobs": [_logprob(t) for t in top or ()]})
    return {"content": content, "refusal": None}


def _logprob(candidate: dict[str, Any]) -> dict[str, Any]:
    token = candidate.get("token") or ""
    data = list(token.encode(errors="surrogatepass"))
    return {"token": token, "logprob": candidate.get("logProbability", 0.0), "bytes": data}


def url_citations(grounding: dict[str, Any], text: str) -> list[dict[str, Any]]:
    """The web pages that pieces of `text` stand on, as OpenAI's `url_citation`s."""
    chunks = grounding.get("groundingChunks")
    chunks = chunks if isinstance(chunks, list) else []
    told: list[dict[str, Any]] = []
    for support in dicts(grounding.get("groundingSupports")):
        place = _place(support.get("segment"), text)
        for number in support.get("groundingChunkIndices") or ():
            web = chunks[number].get("web") if 0 <= number < len(chunks) else None
            if place is None or not isinstance(web, dict) or not web.get("uri"):
                continue
            start, end = place
            citation = {"start_index": start, "end_index": end, "url": web["uri"]}
            citation["title"] = web.get("title") or ""
            told.append({"type": "url_citation", "url_citation": citation})
    return told


def _place(segment: Any, text: str) -> tuple[int, int] | None:
    """Where a segment is, in characters; the API counts bytes, and from the beginning of a part."""
    if not isinstance(segment, dict):
        return None
    raw = text.encode(errors="surrogatepass")
    first, last = _count(segment, "startIndex"), _count(segment, "endIndex")
    start, end = (len(raw[:at].decode(errors="ignore")) for at in (first, last))
    said = segment.get("text")
    if isinstance(said, str) and text[start:end] != said:
        start = text.find(said)
        end = start + len(said)
    return (start, end) if 0 <= start < end else None


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects in an array; whatever else it is, none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
