"""The API's own schemas, a part of OpenAPI's, -> JSON Schema ("Schema" in the reference)."""

from __future__ import annotations

from typing import Any

from trio_router.dialects.gemini.names import camel
from trio_router.errors import InvalidRequest

_LEFT_OUT = frozenset(
    {"propertyOrdering", "nullable", "example"}
)  # read here, or without a counterpart
# 64-bit integers, which protocol buffers' JSON writes as strings.
_COUNTS = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)
_RENAMED = {"defs": "$defs", "ref": "$ref"}
_NAMED = ("properties", "$defs")  # schemas by name
_LISTED = ("anyOf", "prefixItems")
_SINGLE = ("items", "additionalProperties")
_DEEPEST = 64


def json_schema(schema: Any, place: str, depth: int = _DEEPEST) -> Any:
    """Raises InvalidRequest, which names the field within `place`."""
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    if depth == 0:
        raise InvalidRequest(f"{place} is nested too deeply", param=place)
    own = {_RENAMED.get(camel(name), camel(name)): value for name, value in schema.items()}
    told: dict[str, Any] = {}
    for name, value in own.items():
        if value is None or name in _LEFT_OUT:
            continue
        told[name] = _field(name, value, f"{place}.{name}", depth - 1)
    if told.get("type") is None:
        told.pop("type", None)
    if told.get("format") == "enum":  # says only that there is an `enum`
        del told["format"]
    if "example" in own and "examples" not in told:
        told["examples"] = [own["example"]]
    return _or_null(told) if own.get("nullable") is True else told


def _field(name: str, value: Any, place: str, depth: int) -> Any:
    if name in _NAMED:
        if not isinstance(value, dict):
            raise InvalidRequest(f"{place} must be an object", param=place)
        return {key: json_schema(item, f"{place}.{key}", depth) for key, item in value.items()}
    if name in _LISTED:
        if not isinstance(value, list):
            raise InvalidRequest(f"{place} must be an array", param=place)
        return [json_schema(item, f"{place}[{i}]", depth) for i, item in enumerate(value)]
    if name in _SINGLE:
        return json_schema(value, place, depth)
    if name == "type":
        return _type(value)
    if name == "$ref" and isinstance(value, str):
        return value.replace("#/defs/", "#/$defs/", 1)
    if name in _COUNTS and isinstance(value, str) and value.isdigit():
        return int(value)
    return value


def _type(value: Any) -> Any:
    if isinstance(value, list):
        return [_type(item) for item in value]
    if not isinstance(value, str):
        return value
    return None if value.upper() == "TYPE_UNSPECIFIED" else value.lower()


def _or_null(told: dict[str, Any]) -> dict[str, Any]:
    kind = told.get("type")
    if isinstance(kind, str) and kind != "null":
        told["type"] = [kind, "null"]
    if isinstance(told.get("enum"), list) and None not in told["enum"]:
        told["enum"] = [*told["enum"], None]
    if "anyOf" in told and {"type": "null"} not in told["anyOf"]:
        told["anyOf"] = [*told["anyOf"], {"type": "null"}]
    return told
