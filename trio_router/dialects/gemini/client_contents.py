"""`systemInstruction` and `contents` of a client's request -> the hub's messages."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from trio_router.dialects.gemini.client_parts import HubPart, media, part
from trio_router.dialects.gemini.seals import Detail, is_none, unsealed
from trio_router.errors import InvalidRequest
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from trio_router.dialects.gemini.words import Part

_ROLES = {None: "user", "": "user", "user": "user", "function": "user", "model": "model"}
# An id of a call that every provider takes: OpenAI's has at most 40 characters.
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")


def system_message(content: Any, place: str) -> dict[str, Any] | None:
    """None if it says nothing."""
    if isinstance(content, str):
        return {"role": "system", "content": content} if content else None
    texts = []
    for number, given in enumerate(_parts(content, place)):
        where = f"{place}.parts[{number}].text"
        if not isinstance(given.get("text"), str):
            raise InvalidRequest(f"{where}: a system instruction is text", param=where)
        texts.append({"type": "text", "text": given["text"]})
    said = _simple([text for text in texts if text["text"]])
    return {"role": "system", "content": said} if said else None


class Contents:
    """Takes contents in their order; `messages` gives what the hub gets.

    Contents of the model that follow one another are one message: clients keep each piece of a stream
    as a content of its own.
    """

    def __init__(self) -> None:
        self._made: list[dict[str, Any]] = []
        self._turn: _Turn | None = None
        self._ids: set[str] = set()  # of all calls so far
        self._open: list[tuple[str, str, str]] = []  # calls without a response: given id, name, own id

    def add(self, content: Any, place: str) -> None:
        """Raises InvalidRequest, which names the field within `place`."""
        given = _parts(content, place)
        role = content.get("role")
        if role is not None and (not isinstance(role, str) or role not in _ROLES):
            raise InvalidRequest(f"{place}.role must be user or model", param=f"{place}.role")
        places = [f"{place}.parts[{number}]" for number in range(len(given))]
        if _ROLES[role] == "model":
            if self._turn is None:
                self._turn = _Turn()
            for one, where in zip(given, places, strict=True):
                self._model(self._turn, one, where)
            return
        self._end_turn()
        self._user(given, places)

    def messages(self) -> list[dict[str, Any]]:
        self._end_turn()
        return self._made

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._made.append(self._turn.message())
            self._turn = None

    def _model(self, turn: _Turn, given: Part, place: str) -> None:
        own_id = None
        if (call := given.get("functionCall")) is not None:
            own_id = self._call(call, f"{place}.functionCall")
        turn.add(given, place, own_id)

    def _call(self, call: Any, place: str) -> str:
        """The id by which the hub knows the call."""
        name = _name(call, place)
        given = call.get("id")
        if not isinstance(given, str | None):
            raise InvalidRequest(f"{place}.id must be a string", param=f"{place}.id")
        own = plain_id(given) if given else f"call_{len(self._ids)}"
        while own in self._ids:
            own = plain_id(f"{own} {len(self._ids)}")
        self._ids.add(own)
        self._open.append((given or "", name, own))
        return own

    def _user(self, given: list[Part], places: list[str]) -> None:
        said: list[HubPart] = []
        for one, place in zip(given, places, strict=True):
            if (response := one.get("functionResponse")) is not None:
                self._made.append(self._response(response, f"{place}.functionResponse"))
            else:
                said.append(part(one, place))
        if said or not given:
            self._made.append({"role": "user", "content": _simple(said)})

    def _response(self, response: Any, place: str) -> dict[str, Any]:
        name, given = _name(response, place), response.get("id")
        told = response.get("response")
        if not isinstance(told, dict | None):
            raise InvalidRequest(f"{place}.response must be an object", param=f"{place}.response")
        content: str | list[HubPart] = _told(told or {})
        parts = response.get("parts")
        if isinstance(parts, list) and parts:
            shown = [media(_object(one, place), f"{place}.parts[{i}]") for i, one in enumerate(parts)]
            content = [{"type": "text", "text": content}, *shown]
        return {"role": "tool", "tool_call_id": self._answered(given, name, place), "content": content}

    def _answered(self, given: Any, name: str, place: str) -> str:
        """The call that a response is of: by its id; by its name for clients that have made up one."""
        same = [call for call in self._open if given and call[0] == given]
        call = next(iter(same or [call for call in self._open if call[1] == name]), None)
        if call is None:
            why = f"{place}: no functionCall before it is still without its response"
            raise InvalidRequest(why, param=place)
        self._open.remove(call)
        return call[2]


class _Turn:
    """The model's parts, sorted into what the hub has for them."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._details: list[Detail] = []
        self._signature = ""
        self._calls: list[dict[str, Any]] = []
        self._images: list[HubPart] = []
        self._ran: list[Part] = []

    def add(self, given: Part, place: str, call_id: str | None) -> None:
        signature = self._signed(given.get("thoughtSignature"), f"{place}.thoughtSignature")
        if call_id is not None:
            self._calls.append(_hub_call(given["functionCall"], call_id, signature))
            return
        if given.get("inlineData") is not None or given.get("fileData") is not None:
            shown = media(given, place)
            self._images.append(_signed(shown, signature))
            return
        if given.get("functionResponse") is not None:
            where = f"{place}.functionResponse"
            raise InvalidRequest(f"{where}: the model does not respond to calls", param=where)
        self._signature = signature or self._signature
        if given.get("text") is None:
            if others := {k: v for k, v in given.items() if k not in ("thought", "thoughtSignature")}:
                self._ran.append(others)  # code that the model ran, and whatever else
            return
        text = part(given, place)["text"]
        (self._thinking if given.get("thought") else self._text).append(text)

    def _signed(self, signature: Any, place: str) -> str:
        """Google's own signature; what others had sealed is noted."""
        if signature is None or signature == "":
            return ""
        if not isinstance(signature, str):
            raise InvalidRequest(f"{place} must be a string", param=place)
        if (details := unsealed(signature, place)) is not None:
            self._details += details
            return ""
        return "" if is_none(signature) else signature

    def message(self) -> dict[str, Any]:
        made: dict[str, Any] = {"role": "assistant", "content": "".join(self._text) or None}
        if self._thinking:
            made["reasoning_content"] = "".join(self._thinking)
        if self._details:
            made["reasoning_details"] = [{**d, "index": i} for i, d in enumerate(self._details)]
        if self._calls:
            made["tool_calls"] = self._calls
        if self._images:
            made["images"] = self._images
        own: dict[str, Any] = {}
        if self._signature:
            own["thought_signature"] = self._signature
        if self._ran:
            own["parts"] = [{"index": i, "part": ran} for i, ran in enumerate(self._ran)]
        if own:
            made["extra_content"] = {"google": own}
        if made["content"] is None and len(made) == 2:
            made["content"] = ""
        return made


def plain_id(given: str) -> str:
    """An id that every provider takes, the same one for the same id."""
    if _PLAIN_ID.fullmatch(given):
        return given
    return "call_" + hashlib.sha256(given.encode(errors="surrogatepass")).hexdigest()[:24]


def _hub_call(call: dict[str, Any], call_id: str, signature: str) -> dict[str, Any]:
    arguments = call.get("args")
    function = {
        "name": call["name"],
        "arguments": dumps({} if arguments is None else arguments).decode(),
    }
    return _signed({"id": call_id, "type": "function", "function": function}, signature)


def _signed(made: dict[str, Any], signature: str) -> dict[str, Any]:
    if signature:
        made["extra_content"] = {"google": {"thought_signature": signature}}
    return made


def _told(response: dict[str, Any]) -> str:
    """ "`output`" is the API's own word for what a function gives."""
    output = response.get("output")
    return output if isinstance(output, str) and len(response) == 1 else dumps(response).decode()


def _name(told: Any, place: str) -> str:
    if not isinstance(told, dict) or not isinstance(told.get("name"), str) or not told["name"]:
        raise InvalidRequest(f"{place}.name must be a string", param=f"{place}.name")
    if not isinstance(told.get("args"), dict | None):
        raise InvalidRequest(f"{place}.args must be an object", param=f"{place}.args")
    name: str = told["name"]
    return name


def _parts(content: Any, place: str) -> list[Part]:
    if not isinstance(content, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    given = content.get("parts", [])
    if isinstance(given, dict):
        given = [given]
    if not isinstance(given, list):
        raise InvalidRequest(f"{place}.parts must be an array", param=f"{place}.parts")
    return [_object(one, f"{place}.parts[{number}]") for number, one in enumerate(given)]


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest(f"{place} must be an object", param=place)
    return value


def _simple(made: list[HubPart]) -> str | list[HubPart]:
    """One text as a string, which every target takes; "" for nothing."""
    if not made:
        return ""
    if len(made) == 1 and made[0]["type"] == "text":
        text: str = made[0]["text"]
        return text
    return made
