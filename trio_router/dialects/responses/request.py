"""A Responses request -> a chat request in OpenAI's shape.

Fields and their meaning are from the API reference, platform.openai.com/docs/api-reference/responses.
"""

from __future__ import annotations

from typing import Any

from trio_router.dialects.base import Unsupported
from trio_router.dialects.responses.input import ResponsesInput
from trio_router.dialects.responses.parts import wrong
from trio_router.dialects.responses.tools import tools
from trio_router.errors import InvalidRequest

_NUMBER = (int, float)
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "input": ((str, list), "a string or an array"),
    "instructions": ((str,), "a string"),
    "tools": ((list,), "an array"),
    "tool_choice": ((str, dict), "a string or an object"),
    "parallel_tool_calls": ((bool,), "a boolean"),
    "max_output_tokens": ((int,), "an integer"),
    "max_tool_calls": ((int,), "an integer"),
    "temperature": (_NUMBER, "a number"),
    "top_p": (_NUMBER, "a number"),
    "top_logprobs": ((int,), "an integer"),
    "reasoning": ((dict,), "an object"),
    "text": ((dict,), "an object"),
    "include": ((list,), "an array of strings"),
    "metadata": ((dict,), "an object"),
    "store": ((bool,), "a boolean"),
    "background": ((bool,), "a boolean"),
    "stream_options": ((dict,), "an object"),
    "service_tier": ((str,), "a string"),
    "truncation": ((str,), "a string"),
    "user": ((str,), "a string"),
    "safety_identifier": ((str,), "a string"),
    "prompt_cache_key": ((str,), "a string"),
}
# What would have to be remembered from one request to the next.
_STORED = {
    "previous_response_id": "nothing is stored here: give the whole conversation as input",
    "conversation": "nothing is stored here: give the whole conversation as input",
    "background": "nothing is stored here: an answer is read while it is made",
    "prompt": "there are no stored prompts here: give instructions and input",
}
_REFUSED = ("context_management", "moderation")
# The chat API's names, which mean nothing in this one: it refuses them too.
_FOREIGN = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "n": None,
    "logprobs": "include",
    "functions": "tools",
    "function_call": "tool_choice",
    "modalities": None,
    "audio": None,
    "prediction": None,
}
# Read below, or of no consequence where nothing is stored and no tool is run: marks for the API's own
# cache and its records, limits of its own tools, padding against eavesdroppers.
_READ = frozenset(
    {
        *_KINDS,
        *_STORED,
        *_REFUSED,
        "model",
        "stream",
        "prompt_cache_retention",
        "prompt_cache_options",
        "background_options",
        "client_metadata",
        "access_programs",
    }
)
_LOGPROBS = "message.output_text.logprobs"
_LONGEST_USER = 64  # characters; servers refuse more


def check(body: dict[str, Any]) -> None:
    """What every target needs.  Raises InvalidRequest."""
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise wrong("model", "must be a string")
    if not isinstance(body.get("stream"), bool | None):
        raise wrong("stream", "must be a boolean")


def chat_request(
    body: dict[str, Any], *, drop_unsupported: bool = False, left_out: list[str] | None = None
) -> dict[str, Any]:
    """Fields nobody here has heard of are passed on: servers have some of their own.

    With `left_out` the API's own tools and settings are left out, whatever else is unsupported, and so
    are items that tell of the tools' use; what was left out is added to it.  Raises InvalidRequest,
    which names the field.
    """
    check(body)
    _check_kinds(body)
    unsupported = Unsupported(str(body["model"]), drop=drop_unsupported)
    _refuse(body, unsupported)
    drops = drop_unsupported or left_out is not None
    told: dict[str, Any] = {"model": body["model"], "messages": _messages(body, drops)}
    if body.get("stream"):
        told |= {"stream": True, "stream_options": {"include_usage": True}}
    told |= {n: body[n] for n in ("temperature", "top_p") if body.get(n) is not None}
    if body.get("max_output_tokens") is not None:
        told["max_tokens"] = body["max_output_tokens"]
    of_tools = Unsupported(str(body["model"]), drop=drops)
    told |= tools(body, of_tools)
    if left_out is not None:
        left_out += of_tools.dropped
        body = _without_own(body, left_out)
    told |= _text(body.get("text") or {})
    told |= _reasoning(body.get("reasoning") or {}, unsupported)
    told |= _logprobs(body)
    told |= _account(body)
    return {k: v for k, v in body.items() if k not in _READ and v is not None} | told


def _without_own(body: dict[str, Any], left_out: list[str]) -> dict[str, Any]:
    """Without those settings that agents send unasked, and that no other API's models have."""
    text = body.get("text") or {}
    if text.get("verbosity") is not None:
        body = {**body, "text": {k: v for k, v in text.items() if k != "verbosity"}}
        left_out.append("text.verbosity")
    if body.get("service_tier") not in (None, "auto", "default"):
        body = {k: v for k, v in body.items() if k != "service_tier"}
        left_out.append("service_tier")
    return body


def _check_kinds(body: dict[str, Any]) -> None:
    for name, (kinds, words) in _KINDS.items():
        value = body.get(name)
        if value is None:
            continue
        is_fine = bool in kinds if isinstance(value, bool) else isinstance(value, kinds)
        if not is_fine:
            raise wrong(name, f"must be {words}")
    for name, right in _FOREIGN.items():
        if body.get(name) is not None:
            hint = f"; here it is {right}" if right else ""
            raise InvalidRequest(f"{name} is no field of this API{hint}", param=name)
    for number, name in enumerate(body.get("include") or ()):
        if not isinstance(name, str):
            raise wrong(f"include[{number}]", "must be a string")


def _refuse(body: dict[str, Any], unsupported: Unsupported) -> None:
    for name, why in _STORED.items():
        if body.get(name):
            code = "previous_response_not_found" if name == "previous_response_id" else None
            raise InvalidRequest(f"{name} is not supported: {why}", param=name, code=code)
    for name in _REFUSED:
        if body.get(name):
            unsupported.field(name)
    if body.get("truncation") not in (None, "disabled"):
        unsupported.field("truncation", "truncation: too long a conversation is not cut here")


def _messages(body: dict[str, Any], drop_unsupported: bool) -> list[dict[str, Any]]:
    talk = ResponsesInput(drop_unsupported=drop_unsupported)
    if body.get("instructions"):
        talk.add({"role": "system", "content": body["instructions"]}, "instructions")
    asked = body.get("input")
    if asked is None:
        raise wrong("input", "must be given")
    if isinstance(asked, str):
        talk.add({"role": "user", "content": asked}, "input")
    else:
        for number, item in enumerate(asked):
            talk.add(item, f"input[{number}]")
    messages = talk.messages
    if not messages:
        raise wrong("input", "must not be empty")
    return messages


def _text(text: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if text.get("verbosity") is not None:
        if not isinstance(text["verbosity"], str):
            raise wrong("text.verbosity", "must be a string")
        if text["verbosity"] != "medium":  # which is what no word of it means
            told["verbosity"] = text["verbosity"]
    format_ = text.get("format")
    if format_ is None:
        return told
    kind = format_.get("type") if isinstance(format_, dict) else None
    match kind:
        case "text":
            pass
        case "json_object":
            told["response_format"] = {"type": "json_object"}
        case "json_schema":
            told["response_format"] = {"type": "json_schema", "json_schema": _schema(format_)}
        case _:
            raise wrong("text.format.type", "must be text, json_object or json_schema")
    return told


def _schema(format_: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(format_.get("schema"), dict):
        raise wrong("text.format.schema", "must be an object")
    if not isinstance(format_.get("name"), str) or not format_["name"]:
        raise wrong("text.format.name", "must be a string")
    names = ("name", "description", "schema", "strict")
    return {name: format_[name] for name in names if format_.get(name) is not None}


def _reasoning(reasoning: dict[str, Any], unsupported: Unsupported) -> dict[str, Any]:
    """Summaries are a matter of how the answer is told: see `items.ReasoningItem`."""
    if reasoning.get("mode") not in (None, "standard"):
        unsupported.field("reasoning.mode")
    effort = reasoning.get("effort")
    if effort is None:
        return {}
    if not isinstance(effort, str):
        raise wrong("reasoning.effort", "must be a string")
    return {"reasoning_effort": effort}


def _logprobs(body: dict[str, Any]) -> dict[str, Any]:
    if body.get("top_logprobs"):
        return {"logprobs": True, "top_logprobs": body["top_logprobs"]}
    return {"logprobs": True} if _LOGPROBS in (body.get("include") or ()) else {}


def _account(body: dict[str, Any]) -> dict[str, Any]:
    """`metadata` is for who finds a stored answer again: it comes back in the answer, no more."""
    told: dict[str, Any] = {}
    user = body.get("safety_identifier") or body.get("user")
    if user and len(user) <= _LONGEST_USER:
        told["user"] = user
    if body.get("service_tier") not in (None, "auto", "default"):
        told["service_tier"] = body["service_tier"]
    return told
