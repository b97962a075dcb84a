"""The hub's messages -> `systemInstruction` and `contents`.

Turns of the user and the model; the responses to a turn's calls stand in the user's turn after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.dialects.chat_fields import role_of
from trio_router.dialects.gemini.models import asks_for_signatures, takes_media_in_results
from trio_router.dialects.gemini.parts import image, parts
from trio_router.dialects.gemini.words import NO_SIGNATURE, Part, dicts
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import JSONError, loads_text

if TYPE_CHECKING:
    from trio_router.dialects.base import Unsupported


class GeminiConversation:
    """Takes messages in their order; then look at `system` and `turns`."""

    def __init__(self, unsupported: Unsupported, model: Any) -> None:
        self._unsupported = unsupported
        self._model = model
        self.system: list[Part] = []
        self.turns: list[dict[str, Any]] = []
        self._unanswered: list[tuple[str, str]] = []  # id and name of the last turn's calls

    def add(self, message: Any, place: str) -> None:
        """Raises InvalidRequest, which names the field within `place`."""
        role = role_of(message, place, self._unsupported)
        made = parts(message.get("content"), f"{place}.content", self._unsupported)
        match role:
            case "system" | "developer":
                self._system(made, f"{place}.content")
            case "user":
                self._turn("user", made)
            case "assistant":
                self._assistant(message, place, made)
            case "tool":
                self._turn("user", self._result(message, place, made))

    def _system(self, made: list[Part], place: str) -> None:
        if any("text" not in part for part in made):
            raise InvalidRequest(f"{place}: a system message is text", param=place)
        if self.turns:
            # Within a conversation there is only the user to say it, marked as what it is.
            made = [{"text": f"<system>\n{part['text']}\n</system>"} for part in made]
            self._turn("user", made)
        else:
            self.system += made

    def _turn(self, role: str, made: list[Part]) -> None:
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["parts"] += made
        elif made:
            self.turns.append({"role": role, "parts": list(made)})

    def _assistant(self, message: dict[str, Any], place: str, made: list[Part]) -> None:
        if not self.turns or self.turns[-1]["role"] != "model":
            self._unanswered = []
        if message.get("audio"):
            self._unsupported.field(f"{place}.audio")
        if not made and isinstance(message.get("refusal"), str):
            made = parts(message["refusal"], place, self._unsupported)
        own = _google(message)
        ran = [item["part"] for item in dicts(own.get("parts")) if isinstance(item.get("part"), dict)]
        for number, item in enumerate(dicts(message.get("images"))):
            part = image(item.get("image_url"), f"{place}.images[{number}].image_url")
            made.append(_signed(part, _google(item).get("thought_signature")))
        if made and own.get("thought_signature"):
            made[-1] = _signed(made[-1], own["thought_signature"])
        self._turn(
            "model", [*ran, *made, *self._calls(message.get("tool_calls"), f"{place}.tool_calls")]
        )

    def _calls(self, calls: Any, place: str) -> list[Part]:
        if not isinstance(calls, list | None):
            raise InvalidRequest(f"{place} must be an array", param=place)
        made = [self._call(call, f"{place}[{i}]") for i, call in enumerate(calls or ())]
        if made and asks_for_signatures(self._model) and "thoughtSignature" not in made[0]:
            made[0]["thoughtSignature"] = NO_SIGNATURE
        return made

    def _call(self, call: Any, place: str) -> Part:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InvalidRequest(f"{place}.function must have a name", param=f"{place}.function")
        told = {"name": function["name"], "args": _arguments(function.get("arguments"), place)}
        call_id = str(call.get("id") or "")
        if call_id:
            told["id"] = call_id
        self._unanswered.append((call_id, function["name"]))
        return _signed({"functionCall": told}, _google(call).get("thought_signature"))

    def _result(self, message: dict[str, Any], place: str, made: list[Part]) -> list[Part]:
        given = str(message.get("tool_call_id") or "")
        call = next((c for c in self._unanswered if c[0] == given), None)
        if call is None:
            where = f"{place}.tool_call_id"
            raise InvalidRequest(f"{where}: no call before it has this id", param=where)
        self._unanswered.remove(call)
        texts = [part["text"] for part in made if "text" in part]
        media = [part for part in made if "text" not in part]
        told: dict[str, Any] = {"name": call[1], "response": _response("\n".join(texts))}
        if given:
            told["id"] = given
        if media and takes_media_in_results(self._model):
            told["parts"], media = media, []
        return [{"functionResponse": told}, *media]


def _arguments(arguments: Any, place: str) -> dict[str, Any]:
    """The object that the API asks for."""
    value = arguments
    if isinstance(arguments, str) and arguments.strip():
        try:
            value = loads_text(arguments)
        except JSONError:
            value = arguments
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        where = f"{place}.function.arguments"
        raise InvalidRequest(f"{where} must be a JSON object", param=where)
    return value


def _response(text: str) -> dict[str, Any]:
    """ "`output`" is the API's own word for what a function gives."""
    try:
        value = loads_text(text)
    except JSONError:
        value = None
    return value if isinstance(value, dict) else {"output": text}


def _google(item: dict[str, Any]) -> dict[str, Any]:
    extra = item.get("extra_content")
    own = extra.get("google") if isinstance(extra, dict) else None
    return own if isinstance(own, dict) else {}


def _signed(part: Part, signature: Any) -> Part:
    return {**part, "thoughtSignature": signature} if isinstance(signature, str) and signature else part
