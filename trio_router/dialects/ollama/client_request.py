"""A client's request in Ollama's API -> a chat request in OpenAI's shape.

Field names are from Ollama's API documentation (docs/api.md).  What tells a local server how to run a
model (`keep_alive`, `num_ctx`, `num_gpu`...) changes nothing that another provider could be asked for:
it is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.ollama.client_messages import messages_of, user_message
from trio_router.dialects.ollama.request import OPTIONS, options_of, response_format, think_of
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import Number

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

Body = dict[str, Any]
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "stream": ((bool,), "a boolean"),
    "options": ((dict,), "an object"),
    "format": ((str, dict), '"json" or a JSON schema'),
    "think": ((bool, str), 'a boolean, "low", "medium" or "high"'),
    "messages": ((list,), "an array"),
    "tools": ((list,), "an array"),
    "prompt": ((str,), "a string"),
    "system": ((str,), "a string"),
    "suffix": ((str,), "a string"),
    "template": ((str,), "a string"),
    "raw": ((bool,), "a boolean"),
    "images": ((list,), "an array"),
    "context": ((list,), "an array"),
    "logprobs": ((bool,), "a boolean"),
    "top_logprobs": ((int,), "an integer"),
}
_EFFORTS = frozenset({"low", "medium", "high", "max"})
_OWN = frozenset(
    {
        *("messages", "prompt", "system", "images", "format", "options", "think", "stream", "tools"),
        *("suffix", "template", "raw", "context"),  # see `_refuse`
        *("keep_alive", "truncate", "shift"),  # how a local server treats the model and its context
    }
)
_LIFTED = {theirs: ours for ours, theirs in reversed(OPTIONS.items())} | {"stop": "stop"}
_HUB = frozenset({*OPTIONS, "stop", "response_format", "reasoning_effort"})
_NUMBER = (int, float, Number)
# Sampling, by the name that the hub has for it, and what it must be.
_SAMPLING: dict[str, tuple[str, tuple[type, ...]]] = {
    "num_predict": ("max_tokens", (int,)),
    "temperature": ("temperature", _NUMBER),
    "top_p": ("top_p", _NUMBER),
    "top_k": ("top_k", (int,)),
    "min_p": ("min_p", _NUMBER),
    "seed": ("seed", (int,)),
    "frequency_penalty": ("frequency_penalty", _NUMBER),
    "presence_penalty": ("presence_penalty", _NUMBER),
    "repeat_penalty": ("repeat_penalty", _NUMBER),
}
# Values that change nothing, of options that others have no word for.
_NEUTRAL: dict[str, tuple[Any, ...]] = {"mirostat": (0,), "tfs_z": (1, 0), "typical_p": (1, 0)}
# How a local server runs the model, and how options that are not kept would work.
_RUNNING = frozenset(
    {
        *("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "numa"),
        *("low_vram", "f16_kv", "logits_all", "vocab_only", "use_mmap", "use_mlock", "embedding_only"),
        *("mirostat_tau", "mirostat_eta", "repeat_last_n", "penalize_newline"),
    }
)


def check(body: Body) -> None:
    """Raises InvalidRequest, which names the field."""
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise InvalidRequest("model must be a string", param="model")
    for name, (kinds, words) in _KINDS.items():
        value = body.get(name)
        if value is not None and not _is(value, kinds):
            raise InvalidRequest(f"{name} must be {words}", param=name)
    if isinstance(body.get("format"), str) and body["format"] not in ("", "json"):
        raise InvalidRequest('format must be "json" or a JSON schema', param="format")
    think = body.get("think")
    if isinstance(think, str) and think not in _EFFORTS:
        raise InvalidRequest('think must be a boolean, "low", "medium" or "high"', param="think")


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):  # which Python takes for an integer
        return bool in kinds
    return isinstance(value, kinds)


def chat_request(body: Body, unsupported: Unsupported, *, is_chat: bool) -> Body:
    """`body` is checked; it is not changed.  Raises InvalidRequest, which names the field."""
    _refuse(body, unsupported)
    told: Body = {"messages": _conversation(body) if is_chat else _prompt(body)}
    told |= _options(body.get("options") or {}, unsupported)
    if format_ := body.get("format"):
        told["response_format"] = _response_format(format_)
    if (think := body.get("think")) is not None:
        told["reasoning_effort"] = _effort(think)
    if tools := body.get("tools"):
        told["tools"] = tools
    if body.get("stream"):
        told |= {"stream": True, "stream_options": {"include_usage": True}}
    return {k: v for k, v in body.items() if k not in _OWN and v is not None} | told


def _refuse(body: Body, unsupported: Unsupported) -> None:
    """What a chat has no word for."""
    for name, why in (
        ("suffix", "it chats and fills in no gap between a prompt and a suffix"),
        ("template", "its template cannot be replaced"),
        ("raw", "it takes messages, not a raw prompt"),
        ("context", "it takes no tokens of an earlier answer: use /api/chat"),
    ):
        if body.get(name):
            unsupported.field(name, why)


def _conversation(body: Body) -> list[Body]:
    made = messages_of(body.get("messages") or [])
    if not made:
        raise InvalidRequest("messages must not be empty", param="messages")
    return made


def _prompt(body: Body) -> list[Body]:
    if not body.get("prompt") and not body.get("images"):
        raise InvalidRequest("prompt must not be empty", param="prompt")
    told = user_message(body.get("prompt") or "", body.get("images"), "images")
    system = body.get("system")
    return [{"role": "system", "content": system}, told] if system else [told]


def _options(options: Body, unsupported: Unsupported) -> Body:
    told: Body = {}
    for name, value in options.items():
        place = f"options.{name}"
        if value is None or name in _RUNNING:
            continue
        if name == "stop":
            told |= _stop(value, place)
        elif name not in _SAMPLING:
            if value not in _NEUTRAL.get(name, ()):
                unsupported.field(place)
        else:
            hub, kinds = _SAMPLING[name]
            if not _is(value, kinds) and not (kinds == (int,) and _is_whole(value)):
                words = "an integer" if kinds == (int,) else "a number"
                raise InvalidRequest(f"{place} must be {words}", param=place)
            if name != "num_predict" or value >= 0:  # below: no limit, or the context's
                told[hub] = value
    return told


def exposed(body: Body) -> Body:
    """A client's request with its sampling under the hub's names, as the configuration has it.

    `native_body` takes it back.
    """
    options = body.get("options")
    if not isinstance(options, dict):
        return body
    found = {name: value for name, value in options.items() if value is not None}
    lifted = {_LIFTED[name]: value for name, value in found.items() if name in _LIFTED}
    rest = {name: value for name, value in options.items() if _LIFTED.get(name) not in lifted}
    return {**body, "options": rest, **lifted}


def native_body(body: Body) -> Body:
    """`body`, whose fields may have the hub's names, for an upstream of this API."""
    told = {name: value for name, value in body.items() if name not in _HUB}
    if len(told) == len(body):
        return body
    if (format_ := response_format(body.get("response_format"))) is not None:
        told.setdefault("format", format_)
    if (effort := body.get("reasoning_effort")) is not None:
        told.setdefault("think", think_of(effort))
    if options := options_of(body):
        told["options"] = options
    return told


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()  # 64.0 is an integer in JSON


def _stop(value: Any, place: str) -> Body:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise InvalidRequest(f"{place} must be an array of strings", param=place)
    return {"stop": stops} if stops else {}


def _response_format(format_: str | Body) -> Body:
    if isinstance(format_, str):
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": format_}}


def _effort(think: bool | str) -> str:
    if isinstance(think, str):
        return "xhigh" if think == "max" else think
    return "medium" if think else "none"
