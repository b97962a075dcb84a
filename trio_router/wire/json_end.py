"""Finds the end of a JSON text that comes in pieces."""

from __future__ import annotations

import re

from trio_router.wire.jsoncodec import JSONError, loads

_SCALAR = 64  # characters of the longest number or word that is kept
_OUTSIDE = re.compile(r'["{}\[\]]')
_INSIDE = re.compile(r'["\\]')


class JSONEnd:
    """Knows whether a JSON text that comes in pieces is complete, without keeping it."""

    __slots__ = ("_depth", "_has_begun", "_is_broken", "_is_escaped", "_is_string", "_scalar")

    def __init__(self) -> None:
        self._has_begun = False
        self._depth = 0
        self._is_string = False
        self._is_escaped = False  # the next piece's first character is escaped
        self._is_broken = False  # there is text behind the end
        self._scalar = ""

    @property
    def is_whole(self) -> bool:
        if not self._has_begun or self._is_broken or self._is_string or self._depth > 0:
            return False
        if not self._scalar:
            return True
        try:
            loads(self._scalar.encode(errors="surrogatepass"))
        except JSONError:
            return False
        return True

    def add(self, piece: str) -> None:
        if not self._has_begun or self._scalar:
            piece = self._begin(piece)
        elif self._depth == 0 and not self._is_string and piece and not piece.isspace():
            self._is_broken = True
        place = 1 if self._is_escaped and piece else 0
        self._is_escaped = self._is_escaped and not piece
        while found := (_INSIDE if self._is_string else _OUTSIDE).search(piece, place):
            place = found.end()
            self._mark(found[0])
            if found[0] == "\\":
                self._is_escaped = place == len(piece)
                place += 1
            elif self._depth == 0 and not self._is_string and piece[place:].strip():
                self._is_broken = True

    def _begin(self, piece: str) -> str:
        """What is left to be scanned; nothing of what is neither object, array nor string."""
        text = (self._scalar + piece).lstrip() if not self._has_begun or self._scalar else piece
        if not text:
            return ""
        self._has_begun = True
        if text[0] in '{["':
            return text
        self._is_broken = self._is_broken or len(text) > _SCALAR
        self._scalar = text[: _SCALAR + 1]
        return ""

    def _mark(self, mark: str) -> None:
        if mark == '"':
            self._is_string = not self._is_string
        elif mark in "{[":
            self._depth += 1
        elif mark in "}]":
            self._depth -= 1
