"""`/tokenize` of the servers that people run themselves; it stands beside `/v1`.

vLLM and SGLang render `messages` and `tools` with the model's own template, and tell a `count`.
llama.cpp takes the text in `content`, and tells the tokens.  One request says both.
"""

from __future__ import annotations

from typing import Any

from trio_router.dialects.base import UpstreamRequest
from trio_router.dialects.hub import dicts, text_of
from trio_router.wire.jsoncodec import dumps

_VERSION = "/v1"


class TokenizeCounter:
    is_guess = True

    def request(self, body: dict[str, Any], base_url: str) -> UpstreamRequest:
        told: dict[str, Any] = {
            "model": body.get("model"),
            "messages": body["messages"],
            "add_generation_prompt": True,
            "content": "\n".join(_texts(body)),
            "add_special": True,
        }
        if body.get("tools"):
            told["tools"] = body["tools"]
        return UpstreamRequest("/tokenize", dumps(told), above=_VERSION)

    def tokens(self, record: dict[str, Any]) -> int | None:
        count, found = record.get("count"), record.get("tokens")
        if isinstance(count, int) and not isinstance(count, bool):
            return count
        return len(found) if isinstance(found, list) else None


def _texts(body: dict[str, Any]) -> list[str]:
    texts = [dumps(tool).decode() for tool in dicts(body.get("tools"))]
    for message in dicts(body["messages"]):
        texts.append(text_of(message.get("content"))[0])
        texts += [dumps(call).decode() for call in dicts(message.get("tool_calls"))]
    return texts
