"""The protocol of a Responses stream, checked event by event with nothing of the router's."""

from __future__ import annotations

import json
from typing import Any

from trio_router.dialects.base import AnswerIdentity

Event = dict[str, Any]
WHO = AnswerIdentity("chatcmpl-7", 1700000000, "any/m")
ENDS = {"response.completed": "completed", "response.incomplete": "incomplete"}
# What the text of a part is called in its events: (part's type, events, its field, name of its place).
TEXTS = {
    "response.output_text": ("output_text", "text", "content_index"),
    "response.refusal": ("refusal", "refusal", "content_index"),
    "response.reasoning_text": ("reasoning_text", "text", "content_index"),
    "response.reasoning_summary_text": ("summary_text", "text", "summary_index"),
}
LIFE = ("id", "created_at", "model", "object")
CALLS = {
    "response.function_call_arguments": ("function_call", "arguments"),
    "response.custom_tool_call_input": ("custom_tool_call", "input"),
}


def frames(data: bytes) -> list[Event]:
    """Events, which must be framed to the letter and named as they are typed."""
    assert data.endswith(b"\n\n") or not data
    read = []
    for frame in data.decode().split("\n\n")[:-1]:
        name, body = frame.split("\n")
        assert body.startswith("data: ")
        event = json.loads(body[6:])
        assert name == f"event: {event['type']}"
        read.append(event)
    return read


class Checked:
    """A stream's events, taken one after another; `response` is what it ended in."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []  # each: item, parts, closed
        self.count = 0
        self.response: dict[str, Any] | None = None
        self.error: Event | None = None
        self.identity: tuple[Any, ...] = ()

    def take(self, event: Event) -> None:
        assert event["sequence_number"] == self.count
        self.count += 1
        assert self.response is None, "something follows the end"
        kind = event["type"]
        assert self.error is None or kind == "response.failed"
        if self.count <= 2:
            self._lifecycle(event, ("response.created", "response.in_progress")[self.count - 1])
        elif kind == "error":
            self.error = event
        elif kind == "response.failed":
            self._failed(event["response"])
        elif kind in ENDS:
            self._end(event["response"], ENDS[kind])
        elif kind == "response.output_item.added":
            self._added(event)
        else:
            self._within(event)

    def _lifecycle(self, event: Event, kind: str) -> None:
        assert event["type"] == kind
        response = event["response"]
        identity = tuple(response[name] for name in LIFE)
        assert self.identity in ((), identity)
        self.identity = identity
        assert (response["status"], response["output"], response["usage"]) == ("in_progress", [], None)

    def _failed(self, response: dict[str, Any]) -> None:
        assert self.error is not None
        assert response["status"] == "failed"
        assert response["error"]["message"] == self.error["message"]
        self.response = response

    def _end(self, response: dict[str, Any], status: str) -> None:
        assert tuple(response[name] for name in LIFE) == self.identity
        assert response["status"] == status
        assert bool(response["incomplete_details"]) == (status == "incomplete")
        assert all(held["closed"] for held in self.items)
        assert response["output"] == [held["item"] for held in self.items]
        self.response = response

    def _added(self, event: Event) -> None:
        item = event["item"]
        assert event["output_index"] == len(self.items)
        assert item["id"] not in [held["item"]["id"] for held in self.items]
        assert item.get("status", "in_progress") == "in_progress"
        assert not item.get("content")
        assert not item.get("summary")
        assert not item.get("arguments")
        self.items.append({"item": item, "parts": {}, "open": None, "pieces": [], "closed": False})

    def _within(self, event: Event) -> None:
        held = self.items[event["output_index"]]
        assert not held["closed"]
        kind, _, verb = event["type"].rpartition(".")
        if kind == "response.output_item":
            self._done(held, event["item"])
            return
        assert event["item_id"] == held["item"]["id"]
        if kind in CALLS:
            self._call(held, event, *CALLS[kind], verb)
        elif kind in ("response.content_part", "response.reasoning_summary_part"):
            place = "summary_index" if "summary" in kind else "content_index"
            self._part(held, event, place, verb)
        elif kind == "response.output_text.annotation":
            part = held["parts"][held["open"]]
            assert event["annotation_index"] == len(part["annotations"])
            part["annotations"].append(event["annotation"])
        else:
            self._text(held, event, *TEXTS[kind], verb)

    def _part(self, held: dict[str, Any], event: Event, place: str, verb: str) -> None:
        key = (place, event[place])
        if verb == "added":
            assert held["open"] is None
            assert event[place] == sum(name == place for name, _ in held["parts"])
            part = event["part"]
            held["parts"][key] = {"said": "", "done": False, "annotations": [], "logprobs": [], **part}
            held["open"] = key
            return
        part = held["parts"][key]
        assert (verb, held["open"], part["done"]) == ("done", key, True)
        name = "refusal" if part["type"] == "refusal" else "text"
        assert event["part"]["type"] == part["type"]
        assert event["part"][name] == part["said"]
        if part["type"] == "output_text":
            assert event["part"]["annotations"] == part["annotations"]
            assert event["part"]["logprobs"] == part["logprobs"]
        held["open"] = None
        part["whole"] = event["part"]

    def _text(
        self, held: dict[str, Any], event: Event, kind: str, name: str, place: str, verb: str
    ) -> None:
        part = held["parts"][(place, event[place])]
        assert held["open"] == (place, event[place])
        assert (part["type"], part["done"]) == (kind, False)
        if verb == "delta":
            part["said"] += event["delta"]
            part["logprobs"] += event.get("logprobs", [])
            return
        assert verb == "done"
        assert event[name] == part["said"]
        if kind == "output_text":
            assert event["logprobs"] == part["logprobs"]
        part["done"] = True

    def _call(self, held: dict[str, Any], event: Event, kind: str, name: str, verb: str) -> None:
        assert held["item"]["type"] == kind
        if verb == "delta":
            assert event["delta"]
            held["pieces"].append(event["delta"])
            return
        assert (verb, held["open"]) == ("done", None)
        assert event[name] == "".join(held["pieces"])
        held["open"] = "said"

    def _done(self, held: dict[str, Any], item: dict[str, Any]) -> None:
        for name in ("id", "type", "call_id", "name", "role"):
            assert item.get(name) == held["item"].get(name)
        if item["type"] == "tool_search_call":
            assert not held["pieces"]  # it is told whole
        elif "call_id" in item:
            said = item["input" if item["type"] == "custom_tool_call" else "arguments"]
            assert (held["open"], said) == ("said", "".join(held["pieces"]))
        else:
            assert held["open"] is None
            parts = {key: part["whole"] for key, part in held["parts"].items()}
            contents = [part for (place, _), part in parts.items() if place == "content_index"]
            summary = [part for (place, _), part in parts.items() if place == "summary_index"]
            assert item.get("content", []) == contents
            assert item.get("summary", []) == summary
        assert item.get("status", "completed") in ("completed", "incomplete")
        held["item"], held["closed"] = item, True


def check(events: list[Event]) -> Checked:
    checked = Checked()
    for event in events:
        checked.take(event)
    return checked


def said(response: dict[str, Any]) -> dict[str, Any]:
    """Text, reasoning, refusal and calls of a response."""
    told: dict[str, Any] = {"text": "", "reasoning": "", "refusal": "", "calls": []}
    for item in response["output"]:
        match item["type"]:
            case "message":
                told["text"] += "".join(p.get("text", "") for p in item["content"])
                told["refusal"] += "".join(p.get("refusal", "") for p in item["content"])
            case "reasoning":
                parts = item["summary"] + item.get("content", [])
                told["reasoning"] += "".join(part["text"] for part in parts)
            case "function_call":
                told["calls"].append((item["call_id"], item["name"], item["arguments"]))
            case "custom_tool_call":
                told["calls"].append((item["call_id"], item["name"], item["input"]))
    return told
