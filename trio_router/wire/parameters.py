"""A header's value and its parameters (RFC 9110 5.6.6, RFC 2231 as RFC 8187 has it), in one pass.

The standard library's parser takes time that grows with the square of the length.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

# A value: a quoted string, whose end may be missing, or everything up to the next semicolon.
# Possessive quantifiers never backtrack, so the time is linear for any text.
_PARAMETER = re.compile(
    r';\s*+([^;="\s]*+)\s*+(?:=\s*+("(?:[^"\\]++|\\.)*+"?+|[^;]*+))?+[^;]*+', re.DOTALL
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_CHARSETS = frozenset({"", "utf-8", "us-ascii", "iso-8859-1"})  # what an extended value may be in


def parameters(value: str) -> tuple[str, dict[str, str]]:
    """What stands before the first semicolon, and the parameters; names in lower case.

    Of a parameter that is given twice the first counts.  `name*=charset'language'text` counts as
    `name`; where its charset is none of RFC 8187's, or the text is not in it, the value is empty.
    """
    kind, semicolon, rest = value.partition(";")
    found: dict[str, str] = {}
    for match in _PARAMETER.finditer(semicolon + rest):
        name, given = match[1].lower(), (match[2] or "").strip()
        if given.startswith('"'):
            given = _ESCAPED.sub(r"\1", given[1:].removesuffix('"'))
        if name.endswith("*"):
            name, given = name[:-1], _extended(given)
        if name:
            found.setdefault(name, given)
    return kind.strip().lower(), found


def _extended(text: str) -> str:
    charset, quote, rest = text.partition("'")
    _, second, encoded = rest.partition("'")
    if not (quote and second) or charset.lower() not in _CHARSETS:
        return ""
    try:
        return unquote_to_bytes(encoded).decode(charset or "utf-8")
    except ValueError:
        return ""
