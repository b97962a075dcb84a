"""The hub's finish reasons, usage and logprobs, as the API's clients get them."""

from __future__ import annotations

from typing import Any

from trio_router.dialects.gemini.words import FINISH, dicts
from trio_router.dialects.hub import as_dict

# Finish reasons that the hub calls "stop", with the API's own word beside it.
_OTHERS = frozenset(
    {
        "OTHER",
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "NO_IMAGE",
        "IMAGE_OTHER",
        "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE",
    }
)
_REASONS = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}
_MODALITIES = ("audio", "image", "video", "document")


def finish_reason(choice: dict[str, Any], *, has_calls: bool) -> str | None:
    """None if nothing tells why it stopped.  A call that is whole tells it, a text does not."""
    finish, native = choice.get("finish_reason"), choice.get("native_finish_reason")
    if not finish:
        return "STOP" if has_calls else None
    plain = "stop" if finish == "tool_calls" else finish
    if native in _OTHERS or (isinstance(native, str) and FINISH.get(native) == plain):
        return str(native)
    return _REASONS.get(finish, "STOP") if isinstance(finish, str) else "STOP"


def usage_from_hub(usage: Any) -> dict[str, Any] | None:
    """None if nothing was told."""
    if not isinstance(usage, dict):
        return None
    prompt, answer = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    asked = as_dict(usage.get("prompt_tokens_details"))
    given = as_dict(usage.get("completion_tokens_details"))
    tools, thoughts = _count(asked, "tool_use_tokens"), _count(given, "reasoning_tokens")
    total = _count(usage, "total_tokens") or prompt + answer
    # Some providers count reasoning beside the answer.  More of it than of the answer cannot be in it.
    is_beside = total == prompt + answer + thoughts
    thoughts = thoughts if is_beside or thoughts <= answer else 0
    told: dict[str, Any] = {
        "promptTokenCount": max(0, prompt - tools),
        "candidatesTokenCount": answer if is_beside else answer - thoughts,
        "totalTokenCount": total,
    }
    more = {
        "cachedContentTokenCount": _count(asked, "cached_tokens"),
        "toolUsePromptTokenCount": tools,
        "thoughtsTokenCount": thoughts,
        "promptTokensDetails": _by_modality(asked),
        "candidatesTokensDetails": _by_modality(given),
    }
    return told | {name: value for name, value in more.items() if value}


def _by_modality(details: dict[str, Any]) -> list[dict[str, Any]]:
    counts = ((name, _count(details, f"{name}_tokens")) for name in _MODALITIES)
    return [{"modality": name.upper(), "tokenCount": count} for name, count in counts if count]


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def logprobs_from_hub(logprobs: Any) -> dict[str, Any] | None:
    content = dicts(as_dict(logprobs).get("content"))
    if not content:
        return None
    tops = [[_logprob(top) for top in dicts(one.get("top_logprobs"))] for one in content]
    return {
        "chosenCandidates": [_logprob(one) for one in content],
        "topCandidates": [{"candidates": top} for top in tops],
    }


def _logprob(one: dict[str, Any]) -> dict[str, Any]:
    return {"token": one.get("token") or "", "logProbability": one.get("logprob")}


def citations(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Web pages that a text stands on.  Where in the text, the API tells in bytes: it is left out."""
    found = (
        as_dict(annotation.get("url_citation")) for annotation in dicts(message.get("annotations"))
    )
    return [
        {"uri": one["url"], **({"title": one["title"]} if one.get("title") else {})}
        for one in found
        if isinstance(one.get("url"), str)
    ]
