"""Clients: each connection is an actor that asks, reads, waits, and sometimes leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from trio_router.simulation.answers import AnswerParser
from trio_router.simulation.asking import request_of
from trio_router.simulation.pipes import BROKEN

if TYPE_CHECKING:
    from collections.abc import Generator

    from trio_router.simulation.history import Journal
    from trio_router.simulation.pipes import End
    from trio_router.simulation.plan import Ask, Caller
    from trio_router.simulation.stage import Scheduler, Work


@dataclass(slots=True)
class Got:
    """What one request came to, as its client saw it.

    `end`: whole, torn (the connection ended within the answer), unanswered (before it), refused (no
    connection), left, unsent, waiting (when the world ended).
    """

    ask: Ask
    caller: int
    begun_at: float = inf
    sent_at: float = inf  # the last byte of the request was taken by the network
    head_at: float = inf
    left_at: float = inf
    ended_at: float = inf
    end: str = "unsent"
    parser: AnswerParser = field(default_factory=AnswerParser)
    is_head_sent: bool = False
    has_waited: bool = False
    heard_at: float = inf  # when a byte of the answer came last
    longest_silence: float = 0.0  # s from the head on without one
    over: End | None = None  # its side of the connection

    @property
    def has_left(self) -> bool:
        return self.left_at < inf


class Client:
    """Plays one caller.  `got` has an entry for each of its requests."""

    def __init__(self, stage: Scheduler, history: Journal, caller: Caller) -> None:
        self.stage = stage
        self.history = history
        self.caller = caller
        self.name = f"client{caller.id}"
        self.got = [Got(ask, caller.id) for ask in caller.asks]
        self.end: End | None = None
        self.waiting = list(self.got)  # what has not been asked
        self._is_over = False  # the connection is of no more use
        self._rest = b""  # of the answers: what came after the last one

    def run(self, end: End) -> Work:
        """On one connection, as far as it goes: what is `waiting` then needs another."""
        self.end = end
        self._is_over = False
        self._rest = b""
        waiting = self.waiting
        while waiting and not self._is_over:
            group = [waiting.pop(0)]
            while waiting and waiting[0].ask.is_pipelined:
                group.append(waiting.pop(0))
            if group[0].ask.wait and not group[0].has_waited:
                group[0].has_waited = True
                yield from self._sleep(end, group[0].ask.wait)
            if end.has_hung_up:
                waiting[:0] = group
                break
            for got in group:
                if self._is_over:
                    waiting[:0] = group[group.index(got) :]
                    break
                yield from self._send(end, got)
            for got in group:
                if got.begun_at < inf and not got.has_left:
                    yield from self._read(end, got)
        end.close()

    def _sleep(self, end: End, seconds: float) -> Work:
        until = self.stage.now + seconds
        while self.stage.now < until and not end.has_hung_up:
            yield until

    def _send(self, end: End, got: Got) -> Work:
        got.begun_at = self.stage.now
        got.over = end
        got.end = "waiting"
        head, body = request_of(got.ask)
        self.history.note(self.name, f"asks r{got.ask.id}: {got.ask.api} {got.ask.model}")
        try:
            yield from self._put(end, got, head)
            got.is_head_sent = not got.has_left
            if got.ask.framing == "expect" and body:
                yield from self._sleep(end, 1.0)
            step = max(1, -(-len(body) // got.ask.pieces))
            for at in range(0, len(body), step):
                if got.has_left:
                    return
                if at and got.ask.piece_gap:
                    yield from self._linger(end, got, got.ask.piece_gap)
                yield from self._put(end, got, body[at : at + step])
            if not got.has_left:
                got.sent_at = self.stage.now
        except BROKEN:
            self._is_over = True  # an answer may be there all the same

    def _put(self, end: End, got: Got, data: bytes) -> Work:
        rest = memoryview(data)
        while rest and not self._leaves(end, got):
            rest = rest[end.send(rest) :]
            if rest:
                yield self._deadline(got)

    def _linger(self, end: End, got: Got, seconds: float) -> Work:
        until = self.stage.now + seconds
        while self.stage.now < until and not self._leaves(end, got) and not end.has_hung_up:
            yield min(until, self._deadline(got))

    def _deadline(self, got: Got) -> float:
        leave = got.ask.leave
        return inf if leave is None or leave.after < 0 else got.begun_at + leave.after

    def _leaves(self, end: End, got: Got) -> bool:
        """Leaves, if it is time to."""
        leave = got.ask.leave
        if leave is None or got.has_left:
            return got.has_left
        if self.stage.now < self._deadline(got) and not 0 <= leave.after_bytes <= got.parser.size:
            return False
        got.left_at = self.stage.now
        got.end = "left"
        self._is_over = True
        self.history.note(self.name, f"leaves r{got.ask.id}: {leave.kind}")
        if leave.kind == "reset":
            end.reset()
        elif leave.kind == "half":
            end.finish()
        else:
            end.close()
        return True

    def _read(self, end: End, got: Got) -> Work:
        parser, ask = got.parser, got.ask
        if self._rest:
            self._feed(got, self._rest)
            self._rest = b""
        has_stalled = False
        while (
            not end.is_closed and not parser.is_done and not parser.fault and not self._leaves(end, got)
        ):
            if 0 <= ask.stall_at <= parser.size and not has_stalled:
                has_stalled = True
                yield from self._linger_deaf(end, got, ask.stall)
            elif end.is_readable:
                if not self._take(end, got):
                    break
                if ask.read_gap and not parser.is_done:
                    yield from self._linger_deaf(end, got, ask.read_gap)
            else:
                yield self._deadline(got)
        self._settle(end, got)
        if got.has_left and ask.leave is not None and ask.leave.kind == "half":
            yield from self._read_out(end, got)

    def _linger_deaf(self, end: End, got: Got, seconds: float) -> Work:
        """Reads nothing, though there be something, and though the other side have left."""
        until = self.stage.now + seconds
        while self.stage.now < until and not self._leaves(end, got):
            yield min(until, self._deadline(got))

    def _most(self, got: Got) -> int:
        """What one read may take: no more than to the byte at which the client leaves or stalls."""
        ask, size = got.ask, got.parser.size
        most = ask.read_most
        if ask.leave is not None and ask.leave.after_bytes > size:
            most = min(most, ask.leave.after_bytes - size)
        if ask.stall_at > size:
            most = min(most, ask.stall_at - size)
        return most

    def _take(self, end: End, got: Got) -> bool:
        try:
            data = end.receive(self._most(got))
        except BROKEN:
            data = b""
            got.parser.fault = got.parser.fault or ("" if got.parser.is_done else "reset")
        if not data:
            self._is_over = True
            got.parser.feed_eof()
            return False
        self._feed(got, data)
        return True

    def _feed(self, got: Got, data: bytes) -> None:
        got.parser.feed(data)
        if got.head_at == inf and got.parser.status >= 200:
            got.head_at = self.stage.now
        self._hear(got)

    def _hear(self, got: Got) -> None:
        if got.head_at < inf:
            got.longest_silence = max(got.longest_silence, self.stage.now - got.heard_at)
            got.heard_at = self.stage.now

    def _settle(self, end: End, got: Got) -> None:
        parser = got.parser
        got.ended_at = self.stage.now
        if not got.has_left:
            self._hear(got)
        if got.has_left:
            return
        if parser.is_done:
            got.end = "whole"
            self._rest = parser.rest
            if parser.headers.get("connection") == "close":
                self._is_over = True
        else:
            got.end = "torn" if parser.has_begun else "unanswered"
            self._is_over = True
        self.history.note(self.name, f"has r{got.ask.id}: {parser.status} {got.end}")

    def _read_out(self, end: End, got: Got) -> Generator[float, None, None]:
        """After a half-close: until the other side closes too."""
        while not end.is_closed:
            yield from end.wait_receive()
            try:
                if not end.receive(65536):
                    return
            except BROKEN:
                return
