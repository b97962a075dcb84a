"""One answer of a provider on its way out: its events, its pace, its fault."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from trio_router.simulation.envelope import error_event

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from trio_router.simulation.envelope import AnswerBytes
    from trio_router.simulation.pipes import End
    from trio_router.simulation.plan import Fault
    from trio_router.simulation.stage import Work
    from trio_router.simulation.told import Told

    Yes = Generator[float, None, bool]
    Pause = Callable[[Told, float], Yes]  # False if the router has left meanwhile

_BAD_SHAPES = {
    "anthropic": b'{"type":"content_block_delta","index":0,"delta":7}',
    "gemini": b'{"candidates":7}',
    "cohere": b'{"type":"content-delta","delta":7}',
    "ollama": b'{"message":{"content":7},"done":false}',
    "responses": b'{"type":"response.output_text.delta","delta":7}',
}
_ADDING = ("bad_json", "bad_shape", "too_large", "error_event")  # more than was to be said


class Telling:
    """One answer on its way out, with its fault."""

    def __init__(self, end: End, pause: Pause, told: Told, made: AnswerBytes) -> None:
        self.end = end
        self.pause = pause
        self.told = told
        self.made = made
        self.style = told.take.style
        self.fault = told.fault
        # A whole body has a length or ends with the connection; chunks are for streams of lines.
        self.framing = told.take.style.framing

    def run(self) -> Yes:
        lines, fault = self.made.lines, self.fault
        place, part = len(lines), b""
        if fault is not None:
            position = fault.at * len(lines)
            place = min(int(position), len(lines) - 1)
            part = lines[place][: int((position - place) * len(lines[place]))]
            if fault.kind in _ADDING and self.style.bom:
                place = max(place, 1)  # a BOM is the first of all, or none
            if fault.kind == "no_finish":
                place, part = min(self.made.ends_at, len(lines) - 1), b""
        yield from self.end.send_all(self._head())
        if self.style.first and not (yield from self.pause(self.told, self.style.first)):
            return False
        if not (yield from self._lines(0, place)):
            return False
        if fault is None:
            self.told.said_at = self.told.end.stage.now if self.told.end is not None else inf
            return (yield from self._finish())
        if part and self._is_cutting(fault.kind):
            yield from self._write(part)
            # What is whole but for its line end counts, if the body ends here.
            event = self.made.events[place]
            if place >= self.made.ends_at and event and event in part:
                self.told.has_said_finish = True
        return (yield from self._fail(fault, place))

    def _is_cutting(self, kind: str) -> bool:
        return kind in ("cut", "fin", "broken", "stall", "trickle", "bad_framing")

    def _head(self) -> bytes:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: " + self.made.kind + b"\r\n"
        if self.style.invites:
            head = b"HTTP/1.1 100 Continue\r\n\r\n" + head
        if self.framing == "chunked":
            head += b"transfer-encoding: chunked\r\n"
        elif self.framing == "length":
            head += b"content-length: %d\r\n" % sum(map(len, self.made.lines))
        if self.style.closes or self.framing == "eof":
            head += b"connection: close\r\n"
        return head + b"\r\n"

    def _lines(self, begin: int, end: int) -> Yes:
        gather, told = self.style.gather, self.told
        lines = self.made.lines[begin:end]
        step = gather or len(lines) or 1
        for at in range(0, len(lines), step):
            if at and self.style.gap and not (yield from self.pause(told, self.style.gap)):
                return False
            yield from self._write(b"".join(lines[at : at + step]))
            told.sent = begin + min(at + step, len(lines))
            told.has_said_finish = told.sent > self.made.ends_at
        return True

    def _write(self, data: bytes) -> Work:
        if self.framing == "chunked":
            data = b"%x\r\n%b\r\n" % (len(data), data)
        yield from self.end.send_all(data)

    def _finish(self) -> Yes:
        # A body of known length has ended with its last byte.
        is_late = self.style.end and self.framing != "length"
        if is_late and not (yield from self.pause(self.told, self.style.end)):
            return False
        if self.framing == "chunked":
            yield from self.end.send_all(b"0\r\n\r\n")
        self.told.is_whole = True
        return self.framing != "eof" and not self.style.closes

    def _fail(self, fault: Fault, place: int) -> Yes:
        told = self.told
        match fault.kind:
            case "broken":
                self.end.reset()
                return False
            case "stall":
                yield from self.pause(told, inf)
                return False
            case "comments" | "trickle":
                return (yield from self._babble(fault.kind))
            case "early_done" if self.made.kind == b"text/event-stream":
                yield from self._write(b"data: [DONE]\n\n")
                return (yield from self._stop())
            case "cut" | "no_finish" if self.framing == "chunked":
                yield from self.end.send_all(b"0\r\n\r\n")
                return True
            case "bad_framing" if self.framing == "chunked":
                yield from self.end.send_all(b"zz\r\nno chunk\r\n")
                return False
            case "error_event":
                words = f"oops-{told.ask}-{told.provider}-{told.attempt}"
                told.words.append(words)
                yield from self._write(error_event(told.speech, words, self.style))
                return (yield from self._stop())
            case "bad_json" | "bad_shape" | "too_large" if not self.style.as_array:
                yield from self._write(self._nonsense(fault.kind))
                yield from self._lines(place, len(self.made.lines))
                told.is_whole = False
                return (yield from self._stop())
        return False

    def _stop(self) -> Yes:
        if self.framing == "chunked":
            yield from self.end.send_all(b"0\r\n\r\n")
            return True
        return False

    def _babble(self, kind: str) -> Yes:
        is_sse = self.made.kind == b"text/event-stream"
        word = b": still here\n\n" if kind == "comments" and is_sse else b" "
        while (yield from self.pause(self.told, 5.0)):
            yield from self._write(word)
        return False

    def _nonsense(self, kind: str) -> bytes:
        if kind == "bad_json":
            event = b'{"choices": [{"del'
        elif kind == "bad_shape":
            event = _BAD_SHAPES.get(self.told.speech, b'{"choices":7}')
        else:
            event = b'{"pad": "%b"}' % (b"x" * 70000)
        return event + b"\n" if self.made.kind == b"application/x-ndjson" else b"data: %b\n\n" % event
