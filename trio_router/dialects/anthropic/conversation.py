"""The hub's messages -> `system` and `messages` of the Messages API.

"Working with messages" and "Handle tool calls" say what the API asks for: turns of the user and the
assistant, the results of an assistant's calls all in the user's turn after it and before anything else
in that turn.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from trio_router.dialects.anthropic.hub import tool_input, unsealed
from trio_router.dialects.anthropic.order import OUTLINE, arrange
from trio_router.dialects.anthropic.parts import blocks
from trio_router.dialects.anthropic.words import FORMAT, Block
from trio_router.dialects.chat_fields import role_of
from trio_router.errors import InvalidRequest

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported

_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")  # what the id of a tool_use block may not have in it


class AnthropicConversation:
    """Takes messages in their order; then look at `system` and `turns`."""

    def __init__(self, unsupported: Unsupported, *, system_turns: bool) -> None:
        """`system_turns`: the model takes system messages within the conversation."""
        self._unsupported = unsupported
        self._system_turns = system_turns
        self.system: list[Block] = []
        self._turns: list[Block] = []
        self._unanswered: list[tuple[str, str]] = []  # the hub's id and the API's, of the last calls

    @property
    def turns(self) -> list[Block]:
        placed: list[Block] = []
        for number, turn in enumerate(self._turns):
            if turn["role"] == "system" and not self._may_stand(number):
                _add(placed, "user", _as_user(turn["content"]))
            else:
                _add(placed, turn["role"], turn["content"])
        for turn in placed:
            if turn["role"] == "user":
                turn["content"].sort(key=lambda block: block["type"] != "tool_result")
        _trim_end(placed)
        return placed

    def add(self, message: Any, place: str) -> None:
        """Raises InvalidRequest, which names the field within `place`."""
        role = role_of(message, place, self._unsupported)
        if role == "tool":
            _add(self._turns, "user", [self._result(message, place)])
            return
        made = blocks(message.get("content"), f"{place}.content", self._unsupported)
        if role == "assistant":
            made = self._assistant(message, place, made)
        if made and message.get("cache_control") is not None:
            made[-1] = {**made[-1], "cache_control": message["cache_control"]}
        if role in ("system", "developer"):
            self._system(made, f"{place}.content")
        else:
            _add(self._turns, role, made)

    def _system(self, made: list[Block], place: str) -> None:
        if any(block["type"] != "text" for block in made):
            raise InvalidRequest(f"{place}: a system message is text", param=place)
        if self._turns:
            _add(self._turns, "system", made)
        else:
            self.system += made

    def _may_stand(self, number: int) -> bool:
        """ "Mid-conversation system messages": after the user's turn, and before the assistant's."""
        before, after = self._turns[number - 1], self._turns[number + 1 : number + 2]
        is_between = before["role"] == "user" and all(t["role"] == "assistant" for t in after)
        return self._system_turns and is_between

    def _assistant(self, message: dict[str, Any], place: str, made: list[Block]) -> list[Block]:
        content = message.get("content")
        if not content and isinstance(message.get("refusal"), str):
            made = blocks(message["refusal"], place, self._unsupported)
        if message.get("audio"):
            self._unsupported.field(f"{place}.audio")
        calls = self._calls(message.get("tool_calls"), f"{place}.tool_calls")
        thoughts = _thoughts(message.get("reasoning_details"))
        whole = content if isinstance(content, str) else made
        row = arrange(message.get(OUTLINE), whole, message.get("citations"), thoughts, calls)
        if row is None:
            return [*thoughts, *made, *calls]
        return [block for block in row if block["type"] != "text" or block["text"].strip()]

    def _calls(self, calls: Any, place: str) -> list[Block]:
        if not calls:
            if not self._turns or self._turns[-1]["role"] != "assistant":
                self._unanswered = []
            return []
        if not isinstance(calls, list):
            raise InvalidRequest(f"{place} must be an array", param=place)
        if not self._turns or self._turns[-1]["role"] != "assistant":
            self._unanswered = []
        return [self._call(call, f"{place}[{i}]") for i, call in enumerate(calls)]

    def _call(self, call: Any, place: str) -> Block:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InvalidRequest(f"{place}.function must have a name", param=f"{place}.function")
        arguments = function.get("arguments")
        if not isinstance(arguments, str | dict | None):
            where = f"{place}.function.arguments"
            raise InvalidRequest(f"{where} must be a string", param=where)
        given = call.get("id") or ""
        own = _own_id(given) if given else f"toolu_{_FOREIGN.sub('_', place)}"
        self._unanswered.append((str(given), own))
        block: Block = {
            "type": "tool_use",
            "id": own,
            "name": function["name"],
            "input": tool_input(arguments),
        }
        if call.get("cache_control") is not None:
            block["cache_control"] = call["cache_control"]
        extra = call.get("extra_content")
        own_extra = extra.get("anthropic") if isinstance(extra, dict) else None
        return block | own_extra if isinstance(own_extra, dict) else block

    def _result(self, message: dict[str, Any], place: str) -> Block:
        given = message.get("tool_call_id") or ""
        call = next((c for c in self._unanswered if c[0] == given), None)
        if call is None:
            where = f"{place}.tool_call_id"
            raise InvalidRequest(f"{where}: no call before it has this id", param=where)
        self._unanswered.remove(call)
        block: Block = {"type": "tool_result", "tool_use_id": call[1]}
        content = message.get("content")
        made = blocks(content, f"{place}.content", self._unsupported)
        if made:
            block["content"] = content if isinstance(content, str) else made
        for name in ("is_error", "cache_control"):
            if message.get(name) is not None:
                block[name] = message[name]
        return block


def _add(turns: list[Block], role: str, made: list[Block]) -> None:
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += made
    elif made:
        turns.append({"role": role, "content": list(made)})


def _as_user(made: list[Block]) -> list[Block]:
    """What the system says where it may not speak: in the user's turn, marked as what it is."""
    return [{**block, "text": f"<system>\n{block['text']}\n</system>"} for block in made]


def _trim_end(turns: list[Block]) -> None:
    """An assistant's last turn is to be continued; the API refuses it with white space at its end."""
    if turns and turns[-1]["role"] == "assistant":
        last = turns[-1]["content"][-1]
        if last["type"] == "text":
            turns[-1]["content"][-1] = {**last, "text": last["text"].rstrip()}


def _own_id(given: Any) -> str:
    return _FOREIGN.sub(lambda found: f"_{ord(found[0]):x}_", str(given))


def _thoughts(details: Any) -> list[Block]:
    """Only thinking that the API signed can be sent back to it."""
    made: list[Block] = []
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict) or detail.get("format") not in (None, FORMAT):
            continue
        signature, data = detail.get("signature"), detail.get("data")
        if isinstance(signature, str) and signature and unsealed(signature)[0] == FORMAT:
            text = detail.get("text") or ""
            made.append({"type": "thinking", "thinking": text, "signature": signature})
        elif isinstance(data, str) and data:
            made.append({"type": "redacted_thinking", "data": data})
    return made
