"""The order of an answer's blocks, where the hub's message cannot express it.

The hub's message has its thinking, its text and its tool calls side by side.  The API's blocks stand in
a row, and may interleave: text between the server's tool calls and their results, thinking between
tool calls, text in several blocks because each has citations of its own.  Where a row is not simply
thinking, one text, tool calls, the message has the extra field `anthropic_content`: for each block an
outline, in the order of `index`,

    {"index": 0, "type": "thinking"}                           the next of reasoning_details
    {"index": 1, "type": "text", "length": 12, "citations": 1}  the next 12 characters of content
    {"index": 2, "type": "tool_use"}                           the next of tool_calls
    {"index": 3, "type": "part"}                               the next part, where content is an array
    {"index": 4, "type": "server_tool_use", ...}               any other block, itself
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trio_router.dialects.anthropic.words import Block

OUTLINE = "anthropic_content"
_RANKS = {"thinking": 0, "redacted_thinking": 0, "text": 1, "tool_use": 2}


class Row:
    """Watches blocks come; says when their order is no longer the plain one."""

    def __init__(self, *, many_texts: bool = False) -> None:
        """`many_texts`: they are the parts of an array, so several are as plain as one."""
        self.is_plain = True
        self._many_texts = many_texts
        self._rank = 0
        self._has_text = False
        self._count = 0
        self._untold: list[Block] = []

    def begin(self, kind: str) -> None:
        rank = _RANKS.get(kind, -1)
        if rank < self._rank or (rank == 1 and self._has_text and not self._many_texts):
            self.is_plain = False
        self._rank = max(rank, self._rank)
        self._has_text = self._has_text or rank == 1

    def end(self, outline: Block) -> None:
        if outline.get("citations"):
            self.is_plain = False
        self._untold.append({"index": self._count, **outline})
        self._count += 1

    def outlines(self) -> list[Block]:
        """What is to be told by now: nothing as long as the order is plain."""
        if self.is_plain:
            return []
        told, self._untold = self._untold, []
        return told


def arrange(
    outlines: Any, content: str | list[Block], citations: Any, thoughts: list[Block], calls: list[Block]
) -> list[Block] | None:
    """The blocks in the order of `outlines`; None if these do not fit what the message holds.

    A client may have edited the message; then what it holds counts.  An array as `content` is made
    of finished blocks.
    """
    if not isinstance(outlines, list) or not all(isinstance(o, dict) for o in outlines):
        return None
    rest = _Rest(content, citations if isinstance(citations, list) else [], thoughts, calls)
    try:
        row = [rest.take(outline) for outline in sorted(outlines, key=lambda o: o["index"])]
    except (LookupError, TypeError):
        return None
    return row if rest.is_empty else None


class _Rest:
    """What of a message no outline has claimed yet."""

    def __init__(
        self,
        content: str | list[Block],
        citations: list[Any],
        thoughts: list[Block],
        calls: list[Block],
    ) -> None:
        self._text = content if isinstance(content, str) else ""
        self._parts = [] if isinstance(content, str) else list(content)
        self._citations = list(citations)
        self._thoughts = list(thoughts)
        self._calls = list(calls)

    @property
    def is_empty(self) -> bool:
        return not (self._text or self._parts or self._thoughts or self._calls)

    def take(self, outline: Block) -> Block:
        match outline["type"]:
            case "thinking" | "redacted_thinking":
                return self._thoughts.pop(0)
            case "tool_use":
                return self._calls.pop(0)
            case "part":
                return self._parts.pop(0)
            case "text":
                return self._next_text(outline["length"], outline.get("citations") or 0)
            case str():
                return {k: v for k, v in outline.items() if k != "index"}
        raise TypeError("an outline's type is a string")

    def _next_text(self, length: int, citations: int) -> Block:
        if length > len(self._text):
            raise IndexError(length)
        block: Block = {"type": "text", "text": self._text[:length]}
        self._text = self._text[length:]
        if citations:
            block["citations"] = self._citations[:citations]
            del self._citations[:citations]
        return block
