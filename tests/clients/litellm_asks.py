"""A program: asks the router through litellm, and prints what came of it as JSON."""

from __future__ import annotations

import json
import sys

import litellm

URL, TOOL = sys.argv[1], json.loads(sys.argv[2])
ASK = [{"role": "user", "content": "?"}]


def ask(name: str, **fields):
    return litellm.completion(model=f"ollama_chat/{name}", messages=ASK, api_base=URL, **fields)


def told(dialect: str) -> dict:
    whole = ask(f"{dialect}/m")
    streamed = [c.choices[0].delta.content or "" for c in ask(f"{dialect}/m", stream=True)]
    message = ask(f"{dialect}/weather", tools=[TOOL]).choices[0].message
    try:
        error = ask(f"{dialect}/full", num_retries=0) and "none"
    except Exception as fault:
        error = str(fault)
    return {
        "whole": whole.choices[0].message.content,
        "tokens": whole.usage.completion_tokens,
        "streamed": "".join(streamed),
        "text": message.content,
        "calls": [(c.function.name, c.function.arguments) for c in message.tool_calls or ()],
        "error": error,
    }


found = {dialect: told(dialect) for dialect in ("anthropic", "ollama", "openai")}
vectors = litellm.embedding(model="ollama/openai/m", input=["a", "b"], api_base=URL)
print(json.dumps(found | {"vectors": [item["embedding"] for item in vectors.data]}))
