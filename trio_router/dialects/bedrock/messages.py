"""The hub's messages -> `system` and `messages` of Converse.

Turns of the user and the assistant follow one another; the results of an assistant's calls are all in
the user's turn after it, before anything else in that turn.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from trio_router.dialects.bedrock.parts import PartReader, cache_point
from trio_router.dialects.bedrock.words import REDACTED, SIGNED, Block
from trio_router.dialects.chat_fields import role_of
from trio_router.dialects.hub import as_dict, dicts, without_billing
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import JSONError, dumps_text, loads_text

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")  # what the id of a call may not have in it
_LONGEST_ID = 64
_OUTLINE = "anthropic_content"  # the order of a turn's blocks, where it is not the plain one


class BedrockConversation:
    """Takes messages in their order; then look at `system` and `turns`."""

    def __init__(self, unsupported: Unsupported) -> None:
        self._unsupported = unsupported
        self._parts = PartReader(unsupported)
        self.system: list[Block] = []
        self.turns: list[Block] = []
        self.called: list[str] = []  # names of the tools that were called, each once
        self._unanswered: list[tuple[str, str]] = []  # the hub's id and ours, of the last calls

    def add(self, message: Any, place: str) -> None:
        """Raises InvalidRequest, which names the field within `place`."""
        role = role_of(message, place, self._unsupported)
        if role == "tool":
            self._say("user", self._result(message, place))
            return
        content = message.get("content")
        if role == "system":
            content = without_billing(content)
        made = self._parts.blocks(content, f"{place}.content")
        if role == "assistant":
            made = self._assistant(message, place, made)
        if made:
            made += cache_point(message)
        if role not in ("system", "developer"):
            self._say(role, made)
        elif self.turns:
            self._say("user", [_as_user(block) for block in made])
        else:
            self._check_system(made, f"{place}.content")
            self.system += made

    def end(self, request: dict[str, Any]) -> None:
        """All messages are there.  A mark of the request itself is one of its last block."""
        for turn in self.turns:
            if turn["role"] == "user":
                _results_first(turn)
        if self.turns:
            self.turns[-1]["content"] += cache_point(request)
            _trim(self.turns[-1])

    def _check_system(self, made: list[Block], place: str) -> None:
        if any(block.keys().isdisjoint({"text", "cachePoint"}) for block in made):
            raise InvalidRequest(f"{place}: a system message is text", param=place)

    def _say(self, role: str, made: list[Block]) -> None:
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += made
        elif made:
            self.turns.append({"role": role, "content": list(made)})

    def _assistant(self, message: dict[str, Any], place: str, made: list[Block]) -> list[Block]:
        content = message.get("content")
        if not content and isinstance(message.get("refusal"), str):
            made = self._parts.blocks(message["refusal"], place)
        if message.get("audio"):
            self._unsupported.field(f"{place}.audio")
        calls = self._calls(message.get("tool_calls"), f"{place}.tool_calls")
        thoughts = _thoughts(message.get("reasoning_details"))
        outlined = self._outlined(message, place, thoughts, calls)
        if outlined is not None:
            return outlined
        return [*thoughts, *made, *(block for call in calls for block in call)]

    def _outlined(
        self, message: dict[str, Any], place: str, thoughts: list[Block], calls: list[list[Block]]
    ) -> list[Block] | None:
        """The blocks in the order that the client gave them; None if it is the plain one."""
        outlines, content = message.get(_OUTLINE), message.get("content")
        parts = content if isinstance(content, list) else []
        if not isinstance(outlines, list) or len(outlines) != len(thoughts) + len(calls) + len(parts):
            return None
        waiting = {
            "thinking": [[thought] for thought in thoughts],
            "tool_use": list(calls),
            "part": [self._parts.part(part, f"{place}.content[{i}]") for i, part in enumerate(parts)],
        }
        row: list[Block] = []
        for outline in dicts(outlines):
            kind = "thinking" if outline.get("type") == "redacted_thinking" else outline.get("type")
            if not waiting.get(str(kind)):
                return None
            row += waiting[str(kind)].pop(0)
        return row

    def _calls(self, calls: Any, place: str) -> list[list[Block]]:
        if not self.turns or self.turns[-1]["role"] != "assistant":
            self._unanswered = []
        if not calls:
            return []
        if not isinstance(calls, list):
            raise InvalidRequest(f"{place} must be an array", param=place)
        return [self._call(call, f"{place}[{i}]") for i, call in enumerate(calls)]

    def _call(self, call: Any, place: str) -> list[Block]:
        function = as_dict(call).get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InvalidRequest(f"{place}.function must have a name", param=f"{place}.function")
        given = call.get("id") or ""
        own = _own_id(str(given)) if given else f"tooluse_{_FOREIGN.sub('_', place)}"
        self._unanswered.append((str(given), own))
        name = function["name"]
        if name not in self.called:
            self.called.append(name)
        told = {"toolUseId": own, "name": name, "input": _input(function.get("arguments"), place)}
        return [{"toolUse": told}, *cache_point(call)]

    def _result(self, message: dict[str, Any], place: str) -> list[Block]:
        given = message.get("tool_call_id") or ""
        call = next((c for c in self._unanswered if c[0] == given), None)
        if call is None:
            where = f"{place}.tool_call_id"
            raise InvalidRequest(f"{where}: no call before it has this id", param=where)
        self._unanswered.remove(call)
        made = self._parts.blocks(message.get("content"), f"{place}.content")
        told: Block = {
            "toolUseId": call[1],
            "content": [block for block in made if "cachePoint" not in block],
        }
        if message.get("is_error"):
            told["status"] = "error"
        return [{"toolResult": told}, *cache_point(message)]


def _results_first(turn: Block) -> None:
    """Results before all else; the cache points behind them stay behind them."""
    results: list[Block] = []
    others: list[Block] = []
    into = others
    for block in turn["content"]:
        if "cachePoint" not in block:
            into = results if "toolResult" in block else others
        into.append(block)
    turn["content"] = [*results, *others]


def _as_user(block: Block) -> Block:
    """What the system says where it may not speak: in the user's turn, marked as what it is."""
    return {"text": f"<system>\n{block['text']}\n</system>"} if "text" in block else block


def _trim(turn: Block) -> None:
    """An assistant's last turn is to be continued; the API refuses it with white space at its end."""
    last = turn["content"][-1]
    if turn["role"] == "assistant" and "text" in last:
        turn["content"][-1] = {"text": last["text"].rstrip()}


def _own_id(given: str) -> str:
    plain = _FOREIGN.sub(lambda found: f"_{ord(found[0]):x}_", given)
    if len(plain) <= _LONGEST_ID:
        return plain
    return f"tooluse_{hashlib.sha256(given.encode(errors='replace')).hexdigest()[:40]}"


def _input(arguments: Any, place: str) -> dict[str, Any]:
    """A call's arguments as an object; what is none is wrapped, so that the model sees it."""
    if isinstance(arguments, dict):
        return arguments
    if not isinstance(arguments, str | None):
        where = f"{place}.function.arguments"
        raise InvalidRequest(f"{where} must be a string", param=where)
    if arguments is None or not arguments.strip():
        return {}
    try:
        value = loads_text(arguments)
    except JSONError:
        value = arguments
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"INVALID_JSON": dumps_text(value)}


def _thoughts(details: Any) -> list[Block]:
    """Only thinking that was signed or sealed on its way out can be sent back."""
    made: list[Block] = []
    for detail in dicts(details):
        signature, data = detail.get("signature"), detail.get("data")
        if isinstance(signature, str) and signature and detail.get("format") in (None, SIGNED):
            text = {"text": detail.get("text") or "", "signature": signature}
            made.append({"reasoningContent": {"reasoningText": text}})
        elif isinstance(data, str) and data and detail.get("format") == REDACTED:
            made.append({"reasoningContent": {"redactedContent": data}})
    return made
