"""Providers: each connection is an actor that reads requests and plays what the plan says of them."""

from __future__ import annotations

import re
from math import inf
from typing import TYPE_CHECKING

from msgspec import json, structs

from trio_router.simulation.envelope import AnswerBytes, error_body, script, vectors
from trio_router.simulation.pipes import BROKEN
from trio_router.simulation.plan import Fault, Meaning, Take
from trio_router.simulation.stage import BEGINNING, Actor
from trio_router.simulation.telling import Telling
from trio_router.simulation.told import Asked, Told

if TYPE_CHECKING:
    from collections.abc import Generator

    from trio_router.simulation.history import Journal
    from trio_router.simulation.pipes import End
    from trio_router.simulation.plan import Ask, Provider
    from trio_router.simulation.stage import Scheduler, Work

    Yes = Generator[float, None, bool]

_WHO = re.compile(rb"sim-(\d+)-")
_MODEL = re.compile(rb'"model":\s*"([^"]*)"')
_STREAM = re.compile(rb'"stream":\s*true')
_TWO = re.compile(rb'"n":\s*2[,}]')
_GOES_ON = re.compile(rb'"role":\s*"(assistant|model)"')
_PLAIN = Take(Meaning(text="plain"))


class Outlet:
    """A provider's host: what all its connections share.  `told` is everything it answered."""

    def __init__(
        self, stage: Scheduler, history: Journal, provider: Provider, asks: dict[int, Ask]
    ) -> None:
        self.stage = stage
        self.history = history
        self.provider = provider
        self.asks = asks
        self.told: list[Told] = []
        self.attempts: dict[int, int] = {}
        self.unread = 0  # requests that did not come whole
        self.open = 0
        self._count = 0

    def accept(self, end: End) -> None:
        self._count += 1
        self.open += 1
        visit = _Visit(self, end)
        actor = Actor(self.stage, f"{self.provider.name}#{self._count}", visit.run(), self._closed)
        end.wakes(actor.wake)

    def _closed(self) -> None:
        self.open -= 1

    def outage(self) -> Fault | None:
        """What an outage makes of a request that comes now."""
        now = self.stage.now - BEGINNING
        for outage in self.provider.outages:
            if outage.begin <= now < outage.end:
                return outage.fault or Fault("close")
        return None

    def take_for(self, asked: Asked) -> Told:
        found = _WHO.search(asked.body)
        number = int(found[1]) if found else -1
        ask = self.asks.get(number)
        attempt = self.attempts.get(number, 0)
        self.attempts[number] = attempt + 1
        takes = ask.takes.get(self.provider.name, ()) if ask is not None else ()
        take = takes[min(attempt, len(takes) - 1)] if takes else _PLAIN
        told = Told(self.provider.name, number, attempt, self.stage.now, asked, take)
        told.fault = self.outage() or take.fault
        told.speech = _speech(self.provider.dialect, asked.path)
        is_gemini = told.speech == "gemini"
        told.is_stream = "stream" in asked.path if is_gemini else bool(_STREAM.search(asked.body))
        self.told.append(told)
        return told


def _speech(dialect: str, path: str) -> str:
    path = path.partition("?")[0]
    if path.endswith(("/embeddings", "/embed")) or "mbedContent" in path:
        return "vectors"
    if path.endswith(("/models", "/tags")):
        return "models"
    if path.endswith("/responses"):
        return "responses"
    if path.endswith("/completions") and not path.endswith("/chat/completions"):
        return "completions"
    return "openai" if dialect == "azure" else dialect


def _beginning(body: bytes) -> str:
    """What a request gives as the beginning of its answer: its last message, if it is the model's."""
    if not _GOES_ON.search(body):
        return ""
    value = json.decode(body)
    messages = value.get("messages") or value.get("contents") or ()
    last = messages[-1] if isinstance(messages, list) and messages else {}
    if last.get("role") not in ("assistant", "model"):
        return ""
    content = last.get("content") or last.get("parts") or ""
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content)
    return str(content)


class _Visit:
    """One connection."""

    def __init__(self, outlet: Outlet, end: End) -> None:
        self.outlet = outlet
        self.stage = outlet.stage
        self.end = end
        self._read = bytearray()

    def run(self) -> Work:
        served = 0
        limit = self.outlet.provider.closes_after
        try:
            while True:
                asked = yield from self._request()
                if asked is None:
                    break
                told = self.outlet.take_for(asked)
                told.end = self.end
                is_kept = yield from self._answer(told)
                told.ended_at = self.stage.now
                told.is_overtaken = bool(self._read) or bool(self.end.inn.inbox)
                served += 1
                if not is_kept or served == limit:
                    break
        except BROKEN:
            pass
        if self.outlet.told and self.outlet.told[-1].end is self.end and self.end.has_hung_up:
            told = self.outlet.told[-1]
            told.left_at = min(told.left_at, self.stage.now)
        self.end.close()

    def _request(self) -> Generator[float, None, Asked | None]:
        until = self.stage.now + self.outlet.provider.keep_alive
        data = self._read
        while (head := data.find(b"\r\n\r\n")) < 0:
            if not (yield from self._more(until)):
                return None
        first, *lines = bytes(data[:head]).split(b"\r\n")
        method, path, _ = first.split(b" ", 2)
        headers = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        size = int(headers.get(b"content-length", b"0"))
        begin = head + 4
        while len(data) < begin + size:
            if not (yield from self._more(inf)):
                self.outlet.unread += 1
                return None
        body = bytes(data[begin : begin + size])
        del data[: begin + size]
        return Asked(method, path.decode("latin-1"), headers, body)

    def _more(self, until: float) -> Yes:
        yield from self.end.wait_receive(until=until)
        data = self.end.receive(65536)
        if not data:
            return False
        self._read += data
        return True

    def _pause(self, told: Told, seconds: float) -> Yes:
        """False if the router has left meanwhile; then the connection is of no use any more."""
        until = self.stage.now + seconds
        while self.stage.now < until and not self.end.has_hung_up:
            yield until
        if self.end.has_hung_up:
            told.left_at = min(told.left_at, self.stage.now)
            return False
        return True

    # -- answers; each says whether the connection may be used again

    def _answer(self, told: Told) -> Yes:
        fault = told.fault
        kind = fault.kind if fault else ""
        if told.take.style.head and not (yield from self._pause(told, told.take.style.head)):
            return False
        match kind:
            case "silence":
                yield from self._pause(told, inf)
                return False
            case "close":
                return False
            case "reset":
                self.end.reset()
                return False
            case "garbage":
                yield from self.end.send_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
                return False
            case "status" | "redirect":
                assert fault is not None
                return (yield from self._refuse(told, fault))
            case "html" | "empty" | "usage_only":
                return (yield from self._say_nothing(told, kind))
        if told.speech in ("vectors", "models"):
            return (yield from self._say(told, self._listed(told)))
        model = _MODEL.search(told.asked.body)
        name = model[1].decode() if model else "m"
        ident = f"{told.ask}-{told.provider}-{told.attempt}"
        take = told.take
        told.begun = _beginning(told.asked.body)
        if told.begun and take.answer.text.startswith(told.begun):
            # It is to go on from there: what was said is not said again.
            rest = structs.replace(take.answer, text=take.answer.text[len(told.begun) :], thoughts="")
            take = structs.replace(take, answer=rest)
        told.choices = 2 if told.speech == "openai" and _TWO.search(told.asked.body) else 1
        made = script(take, told.speech, ident, name, is_stream=told.is_stream, choices=told.choices)
        return (yield from self._say(told, made))

    def _listed(self, told: Told) -> AnswerBytes:
        dialect = self.outlet.provider.dialect
        if told.speech == "vectors":
            body = vectors(dialect, told.take.answer, told.ask, "m")
        else:
            body = b'{"object":"list","data":[{"id":"listed","object":"model"}]}'
        return AnswerBytes(b"application/json", [body], [body], 0)

    def _refuse(self, told: Told, fault: Fault) -> Yes:
        words = f"oops-{told.ask}-{told.provider}-{told.attempt}"
        if fault.body == "key":
            words += f" Incorrect API key provided: {told.asked.key}."
        told.words.append(words)
        body = error_body(self.outlet.provider.dialect, fault.status, words, "some_code")
        kind = b"application/json"
        if fault.body == "html":
            body, kind = b"<html><body>%d</body></html>" % fault.status, b"text/html"
        elif fault.body == "empty":
            body = b""
        status = 302 if fault.kind == "redirect" else fault.status
        extra = b"location: /elsewhere\r\n" if fault.kind == "redirect" else b""
        if fault.retry_after:
            extra += b"retry-after: %b\r\n" % fault.retry_after.encode()
        told.status = status
        head = b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n"
        yield from self.end.send_all(head % (status, kind, len(body), extra) + body)
        return True

    def _say_nothing(self, told: Told, kind: str) -> Yes:
        told.status = 200
        if kind == "html":
            content, body = b"text/html", b"<html><body>sign in</body></html>"
        elif kind == "empty":
            content, body = b"text/event-stream", b"data: [DONE]\n\n"
        else:
            usage = b'{"prompt_tokens":1,"completion_tokens":0,"total_tokens":1}'
            chunk = b'{"id":"x","object":"chat.completion.chunk","choices":[],"usage":%b}' % usage
            content, body = b"text/event-stream", b"data: %b\n\ndata: [DONE]\n\n" % chunk
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
        yield from self.end.send_all(head % (content, len(body)) + body)
        return True

    def _say(self, told: Told, made: AnswerBytes) -> Yes:
        told.script, told.status = made, 200
        return (yield from Telling(self.end, self._pause, told, made).run())
