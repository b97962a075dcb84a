"""An answer as the events of OpenAI's Responses API, for providers that have it themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio_router.simulation.speech import CREATED, pieces

if TYPE_CHECKING:
    from trio_router.simulation.plan import Meaning, Style
    from trio_router.simulation.speech import Event


def _message(ident: str, text: str, status: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}] if text else []
    head = {"id": f"msg_{ident}", "type": "message", "role": "assistant", "status": status}
    return {**head, "content": content}


def _call(index: int, name: str, arguments: str, status: str) -> dict[str, Any]:
    head = {"id": f"fc_{index}", "type": "function_call", "call_id": f"call_{index}"}
    return {**head, "name": name, "arguments": arguments, "status": status}


def responses_whole(answer: Meaning, ident: str, model: str) -> dict[str, Any]:
    output: list[dict[str, Any]] = []
    if answer.text or not answer.calls:
        output.append(_message(ident, answer.text, "completed"))
    output += [
        _call(index, call.name, call.arguments, "completed") for index, call in enumerate(answer.calls)
    ]
    told = _frame(answer, ident, model)
    told["output"] = output
    told["usage"] = {
        "input_tokens": answer.prompt_tokens,
        "output_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(answer.finish)
    told["status"] = "completed" if reason is None else "incomplete"
    told["incomplete_details"] = None if reason is None else {"reason": reason}
    return told


def _frame(answer: Meaning, ident: str, model: str) -> dict[str, Any]:
    head = {"id": f"resp_{ident}", "object": "response", "created_at": CREATED, "model": model}
    return {**head, "status": "in_progress", "output": [], "usage": None, "error": None}


class _Numbered:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def say(self, kind: str, **fields: Any) -> None:
        number = len(self.events)
        self.events.append((kind, {"type": kind, "sequence_number": number, **fields}))


def responses(answer: Meaning, style: Style, ident: str, model: str) -> list[Event]:
    told = _Numbered()
    told.say("response.created", response=_frame(answer, ident, model))
    told.say("response.in_progress", response=_frame(answer, ident, model))
    index = 0
    if answer.text or not answer.calls:
        _say_message(told, answer, style, ident)
        index = 1
    for number, call in enumerate(answer.calls):
        item = _call(number, call.name, "", "in_progress")
        told.say("response.output_item.added", output_index=index, item=item)
        place = {"item_id": item["id"], "output_index": index}
        for piece in pieces(call.arguments, style.piece):
            told.say("response.function_call_arguments.delta", **place, delta=piece)
        told.say("response.function_call_arguments.done", **place, arguments=call.arguments)
        whole = _call(number, call.name, call.arguments, "completed")
        told.say("response.output_item.done", output_index=index, item=whole)
        index += 1
    last = responses_whole(answer, ident, model)
    told.say(f"response.{last['status']}", response=last)
    return told.events


def _say_message(told: _Numbered, answer: Meaning, style: Style, ident: str) -> None:
    item = _message(ident, "", "in_progress")
    told.say("response.output_item.added", output_index=0, item=item)
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    told.say("response.content_part.added", **place, part=part)
    for piece in pieces(answer.text, style.piece):
        told.say("response.output_text.delta", **place, delta=piece)
    told.say("response.output_text.done", **place, text=answer.text)
    told.say("response.content_part.done", **place, part={**part, "text": answer.text})
    whole = _message(ident, answer.text, "completed")
    told.say("response.output_item.done", output_index=0, item=whole)
