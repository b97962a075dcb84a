"""Field names of the API, which takes them in camel case and with underscores, as protobuf does."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_UNDERSCORE = re.compile(r"_([a-z0-9])")
# What stands in these is not the API's: names of parameters, of labels, of a schema's properties.
_OPAQUE = frozenset(
    {
        "args",
        "response",
        "labels",
        "parameters",
        "parametersJsonSchema",
        "responseSchema",
        "responseJsonSchema",
    }
)


@lru_cache(maxsize=1024)
def camel(name: str) -> str:
    """`inline_data` -> `inlineData`."""
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name) if "_" in name else name


def in_camel(value: Any) -> Any:
    """A request with all of the API's own names in camel case; it is not changed."""
    if isinstance(value, dict):
        told = {}
        for name, held in value.items():
            own = camel(name)
            told[own] = held if own in _OPAQUE else in_camel(held)
        return told
    return [in_camel(item) for item in value] if isinstance(value, list) else value
