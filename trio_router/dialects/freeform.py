"""Tools whose input is free-form text, as functions of one text; their calls' arguments, as they come.

OpenAI's models alone know such tools (`custom`).
"""

from __future__ import annotations

import json
import re
from typing import Any

from trio_router.dialects.hub import as_dict

INPUT = "input"  # the one parameter of a free-form tool
_PARAMETERS = {
    "type": "object",
    "properties": {INPUT: {"type": "string", "description": "The tool's whole input, as plain text."}},
    "required": [INPUT],
    "additionalProperties": False,
}
_OPENING = re.compile(r'\s*\{\s*"' + INPUT + r'"\s*:\s*"')
_MAY_OPEN = 256  # characters that may come before the text
# What of a JSON string is whole: an escape that is cut off is left for the next piece.
_WHOLE = re.compile(r'(?:[^"\\]|\\[^u]|\\u[0-9a-fA-F]{4})*')
_HIGH = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}$")  # its other half may be still to come


def function_for(tool: dict[str, Any]) -> dict[str, Any]:
    """A free-form tool as the hub's function, which is told of the tool's grammar, if it has one."""
    said = [tool["description"]] if isinstance(tool.get("description"), str) else []
    format_ = as_dict(tool.get("format"))
    if isinstance(format_.get("definition"), str):
        kind = f" ({format_['syntax']})" if isinstance(format_.get("syntax"), str) else ""
        said.append(f"`{INPUT}` must match this grammar{kind}:\n{format_['definition']}")
    told: dict[str, Any] = {"name": tool["name"]}
    if said:
        told["description"] = "\n\n".join(said)
    return told | {"parameters": _PARAMETERS}


class FreeForm:
    """Decodes `{"input": "..."}` piece by piece.  What has another form is decoded at its end."""

    def __init__(self) -> None:
        self._held = ""
        self._is_open = False  # within the text
        self._is_over = False  # behind the text
        self._is_other = False  # no text of this form begins

    def take(self, piece: str) -> str:
        """What `piece` adds to the input."""
        if self._is_over:
            return ""
        self._held += piece
        if not self._is_open:
            if self._is_other or (opening := _OPENING.match(self._held)) is None:
                self._is_other = len(self._held) > _MAY_OPEN
                return ""
            self._is_open = True
            self._held = self._held[opening.end() :]
        return self._text()

    def end(self) -> str:
        """What is left when all arguments have come."""
        held, self._held = self._held, ""
        if self._is_over or self._is_open:
            return ""
        self._is_over = True
        return _input_in(held)

    def _text(self) -> str:
        found = _WHOLE.match(self._held)
        size = found.end() if found else 0
        if size < len(self._held) and self._held[size] == '"':
            self._is_over = True
        elif cut := _HIGH.search(self._held, 0, size):
            size = cut.start()
        text, self._held = self._held[:size], self._held[size:]
        return _decoded(text)


def _decoded(text: str) -> str:
    """The value of a JSON string's inside; line ends may stand in it as they are."""
    if "\\" not in text:
        return text
    try:
        value: str = json.loads(f'"{text}"', strict=False)
    except ValueError:
        return text
    return _without_halves(value)


def _input_in(arguments: str) -> str:
    """The text in arguments of any form: that of `input`, or of the only property, or all of it."""
    try:
        value = json.loads(arguments, strict=False)
    except ValueError:
        return arguments
    if isinstance(value, dict):
        texts = [v for v in value.values() if isinstance(v, str)]
        if isinstance(value.get(INPUT), str):
            return _without_halves(value[INPUT])
        if len(value) == 1 and texts:
            return _without_halves(texts[0])
        return arguments if value else ""
    return _without_halves(value) if isinstance(value, str) else arguments


def _without_halves(text: str) -> str:
    """No half of a surrogate pair can be sent."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
