"""`generationConfig`, `tools` and `toolConfig` of a client's request -> fields of the hub's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.gemini.schemas import json_schema
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import Number

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

Fields = dict[str, Any]
_NUMBER = (int, float, Number)
_PLACE = "generationConfig"
# Their names in the hub, their types, and what these are called.
_PLAIN: dict[str, tuple[str, tuple[type, ...], str]] = {
    "temperature": ("temperature", _NUMBER, "a number"),
    "topP": ("top_p", _NUMBER, "a number"),
    "topK": ("top_k", _NUMBER, "a number"),
    "presencePenalty": ("presence_penalty", _NUMBER, "a number"),
    "frequencyPenalty": ("frequency_penalty", _NUMBER, "a number"),
    "maxOutputTokens": ("max_tokens", (int,), "an integer"),
    "seed": ("seed", (int,), "an integer"),
    "candidateCount": ("n", (int,), "an integer"),
    "stopSequences": ("stop", (list,), "an array of strings"),
    "responseLogprobs": ("logprobs", (bool,), "a boolean"),
    "logprobs": ("top_logprobs", (int,), "an integer"),
}
_SCHEMAS = ("responseSchema", "responseJsonSchema", "_responseJsonSchema")
_READ = frozenset({*_PLAIN, *_SCHEMAS, "responseMimeType", "responseModalities", "thinkingConfig"})
_MODALITIES = {"TEXT": "text", "IMAGE": "image"}
_LEVELS = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}
_MODES = ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED")
_DECLARED = frozenset(
    {"name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema"}
)


def config(given: Any, unsupported: Unsupported) -> Fields:
    """Raises InvalidRequest, which names the field."""
    if not isinstance(given, dict):
        raise InvalidRequest(f"{_PLACE} must be an object", param=_PLACE)
    told: Fields = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in _PLAIN:
            hub, kinds, words = _PLAIN[name]
            told[hub] = _checked(value, kinds, f"{_PLACE}.{name}", words)
        elif name not in _READ:
            unsupported.field(f"{_PLACE}.{name}")
    if any(not isinstance(stop, str) for stop in told.get("stop", ())):
        where = f"{_PLACE}.stopSequences"
        raise InvalidRequest(f"{where} must be an array of strings", param=where)
    return told | _format(given) | _modalities(given, unsupported) | _thinking(given)


def _checked(value: Any, kinds: tuple[type, ...], place: str, words: str) -> Any:
    """64.0 is an integer, too; a boolean is no number."""
    if isinstance(value, float) and int in kinds and value.is_integer():
        return int(value)
    is_fine = bool in kinds if isinstance(value, bool) else isinstance(value, kinds)
    if not is_fine:
        raise InvalidRequest(f"{place} must be {words}", param=place)
    return value


def _format(given: Fields) -> Fields:
    kind = given.get("responseMimeType") or "text/plain"
    name = next((name for name in _SCHEMAS if given.get(name) is not None), None)
    if kind == "text/plain" and name is None:
        return {}
    if kind != "application/json":
        where = f"{_PLACE}.responseMimeType"
        why = "must be application/json for a schema" if name else f"is none that is known: {kind!r}"
        raise InvalidRequest(f"{where} {why}", param=where)
    if name is None:
        return {"response_format": {"type": "json_object"}}
    schema, where = given[name], f"{_PLACE}.{name}"
    if name == "responseSchema":
        schema = json_schema(schema, where)
    if not isinstance(schema, dict):
        raise InvalidRequest(f"{where} must be an object", param=where)
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}
    }


def _modalities(given: Fields, unsupported: Unsupported) -> Fields:
    asked = given.get("responseModalities")
    if asked is None or asked == []:
        return {}
    where = f"{_PLACE}.responseModalities"
    if not isinstance(asked, list):
        raise InvalidRequest(f"{where} must be an array", param=where)
    told = [_MODALITIES.get(str(name).upper(), "") for name in asked]
    if "" in told:
        unsupported.field(where, f"{where}: it answers in text and images only")
        return {}
    return {} if told == ["text"] else {"modalities": told}


def _thinking(given: Fields) -> Fields:
    """Thoughts that are only to be shown, as they come, ask for nothing."""
    asked, where = given.get("thinkingConfig"), f"{_PLACE}.thinkingConfig"
    if asked is None:
        return {}
    if not isinstance(asked, dict):
        raise InvalidRequest(f"{where} must be an object", param=where)
    level, budget = asked.get("thinkingLevel"), asked.get("thinkingBudget")
    if level is not None and str(level).upper() != "THINKING_LEVEL_UNSPECIFIED":
        if str(level).upper() not in _LEVELS:
            where = f"{where}.thinkingLevel"
            raise InvalidRequest(f"{where} is none that is known", param=where)
        return {"reasoning_effort": _LEVELS[str(level).upper()]}
    if budget is None:
        return {}
    budget = _checked(budget, (int,), f"{where}.thinkingBudget", "an integer")
    return {"reasoning_effort": _effort(budget)} if budget >= 0 else {}  # -1: as the model sees fit


def _effort(budget: int) -> str:
    """Those of Google's own table ("OpenAI compatibility: Thinking"), by what is nearest below."""
    if budget == 0:
        return "none"
    return "low" if budget < 8192 else "medium" if budget < 24576 else "high"


def tools(given: Any, tool_config: Any, unsupported: Unsupported) -> Fields:
    """Raises InvalidRequest, which names the field."""
    functions = _functions(given, unsupported)
    if not isinstance(tool_config, dict | None):
        raise InvalidRequest("toolConfig must be an object", param="toolConfig")
    calling = (tool_config or {}).get("functionCallingConfig") or {}
    for name, value in (tool_config or {}).items():
        if name != "functionCallingConfig" and value not in (None, False, {}):
            unsupported.field(f"toolConfig.{name}")
    where = "toolConfig.functionCallingConfig"
    if not isinstance(calling, dict):
        raise InvalidRequest(f"{where} must be an object", param=where)
    mode, allowed = calling.get("mode") or "AUTO", calling.get("allowedFunctionNames") or []
    if mode not in _MODES:
        raise InvalidRequest(f"{where}.mode is none that is known", param=f"{where}.mode")
    if not isinstance(allowed, list):
        where = f"{where}.allowedFunctionNames"
        raise InvalidRequest(f"{where} must be an array", param=where)
    if not functions:
        return {}
    if (
        allowed
    ):  # what the others are for is no matter: no provider is asked about tools it may not call
        functions = [one for one in functions if one["function"]["name"] in allowed]
        if not functions:
            where = f"{where}.allowedFunctionNames"
            raise InvalidRequest(f"{where} names no function that is declared", param=where)
    told: Fields = {"tools": functions}
    if mode == "ANY":
        name = functions[0]["function"]["name"]
        one = {"type": "function", "function": {"name": name}}
        told["tool_choice"] = one if allowed and len(functions) == 1 else "required"
    elif mode == "NONE":
        told["tool_choice"] = "none"
    return told


def _functions(given: Any, unsupported: Unsupported) -> list[Fields]:
    """What else a tool is (a search, code) the API's own servers do: others cannot."""
    if isinstance(given, dict):
        given = [given]
    if not isinstance(given, list):
        raise InvalidRequest("tools must be an array", param="tools")
    made: list[Fields] = []
    for number, tool in enumerate(given):
        place = f"tools[{number}]"
        if not isinstance(tool, dict):
            raise InvalidRequest(f"{place} must be an object", param=place)
        for name, value in tool.items():
            if name == "functionDeclarations":
                if not isinstance(value, list):
                    raise InvalidRequest(f"{place}.{name} must be an array", param=f"{place}.{name}")
                made += [
                    _function(one, f"{place}.{name}[{i}]", unsupported) for i, one in enumerate(value)
                ]
            elif value is not None:
                unsupported.field(f"{place}.{name}", f"{place}: there is no {name} here")
    return made


def _function(given: Any, place: str, unsupported: Unsupported) -> Fields:
    """What a function gives back, no other API is told."""
    if not isinstance(given, dict) or not isinstance(given.get("name"), str) or not given["name"]:
        raise InvalidRequest(f"{place}.name must be a string", param=f"{place}.name")
    function: Fields = {"name": given["name"]}
    if given.get("description"):
        function["description"] = given["description"]
    parameters = given.get("parametersJsonSchema")
    if parameters is None and given.get("parameters") is not None:
        parameters = json_schema(given["parameters"], f"{place}.parameters")
    if not isinstance(parameters, dict | None):
        where = f"{place}.parametersJsonSchema"
        raise InvalidRequest(f"{where} must be an object", param=where)
    function["parameters"] = parameters or {"type": "object", "properties": {}}
    for name, value in given.items():
        if name not in _DECLARED and value not in (None, "UNSPECIFIED", "BLOCKING"):
            unsupported.field(f"{place}.{name}")
    return {"type": "function", "function": function}
