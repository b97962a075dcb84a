# ruff: noqa: E501
"""The faults that are planted, one at a time: what stands in a file, and what is put in its place."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    name: str
    file: str
    before: str
    after: str


ATTEMPT, CALL, EXCHANGE = "relay/attempt.py", "relay/call.py", "relay/exchange.py"
ROUTE, RACE, SINKS, STREAM = (
    "relay/along_route.py",
    "relay/race.py",
    "relay/sinks.py",
    "relay/stream.py",
)
CLIENT, BOOKS, ENGINE, GATE = "relay/client.py", "relay/books.py", "relay/engine.py", "relay/gate.py"
CIRCUIT, PLAN, RETRY, KEYS = (
    "routing/circuit.py", "routing/plan.py", "routing/retry.py", "routing/keys.py"
)  # fmt: skip
FLEET, REPLAY, HEDGE = "routing/fleet.py", "routing/replay.py", "routing/hedge.py"
POOL, TRIP, BODY = "transport/pool.py", "transport/round_trip.py", "transport/body.py"
LINK, CONNECTIONS, REQUEST_BODY = (
    "server/http1_link.py", "server/connections.py", "server/request_body.py"
)  # fmt: skip
ANSWER, TRANSLATE, NATIVE = "dialects/answer.py", "dialects/translate.py", "dialects/native.py"

MUTANTS = [
    # The end of a stream
    Mutant("a [DONE] after an error", STREAM, "(self._translator or self.call).fail(error)",
           '(self._translator or self.call).fail(error) + b"data: [DONE]\\n\\n"'),
    Mutant("an error is not told in the stream", STREAM,
           "            self.tail = (self._translator or self.call).fail(error)\n", "            pass\n"),
    Mutant("a cut is taken for an end", ANSWER, "        if not clean:\n            return self.is_whole\n",
           "        if not clean:\n            return True\n"),
    Mutant("a clean end is taken for a whole answer", ANSWER, "return bool(self._finished) or (",
           "return True or ("),
    Mutant("no [DONE] where the upstream said none", TRANSLATE,
           "        if self.reader.failure is None:\n            frames.append(DONE)\n        return b\"\".join(frames)\n\n    def fail",
           "        return b\"\".join(frames)\n\n    def fail"),
    Mutant("[DONE] twice", TRANSLATE, "        if self.reader.is_done:\n            frames.append(DONE)\n",
           "        if self.reader.is_done:\n            frames += [DONE, DONE]\n"),
    Mutant("what is left at the end is dropped", ANSWER, "items = self._read(self._frames.receive_eof())",
           "items = self._read([])"),
    Mutant("a limit that ends the linger is an error", ATTEMPT, "        self._watchdog.rest()\n", ""),
    Mutant("a broken connection in mid-stream is an end", ATTEMPT, "            clean = False\n", "            clean = True\n"),
    Mutant("an error in the stream is passed over", ANSWER, 'if record.event == b"error" or value.get("error"):',
           'if record.event == b"error":'),
    # Frames
    Mutant("a frame twice after a partial write", LINK, "        self._held = framed[sent:]\n        return b\"\"",
           "        self._held = framed[sent:]\n        return data"),
    Mutant("the rest of a partial write is lost", LINK, "        self._held = framed[sent:]\n", ""),
    Mutant("a held head is lost", LINK, "data, self._held = self._held + data, b\"\"", "self._held = b\"\""),
    Mutant("the first event is not sent", STREAM, "            self._state = State.FLOWING\n",
           "            self._state = State.FLOWING\n            self._frames.receive_nowait() if self._frames.statistics().current_buffer_used else None\n"),
    Mutant("frames that wait are joined in the wrong order", STREAM, 'return b"".join(parts)',
           'return b"".join(reversed(parts))'),
    Mutant("usage is not told to who asked", TRANSLATE, "if not self._with_usage and not chunk.get(\"choices\") and chunk.get(\"usage\"):",
           "if not chunk.get(\"choices\") and chunk.get(\"usage\"):"),
    Mutant("the last chunk is left out", LINK, "await self._send(end + _LAST if self._is_chunked else end)",
           "await self._send(end)"),
    # Release
    Mutant("the upstream of a leaver is not closed", CLIENT, "        self._answer.body.close()\n", "        pass\n"),
    Mutant("a leaver is not told to its request", CONNECTIONS,
           "                if self._current is not None:\n                    self._current.client_left()\n", ""),
    Mutant("a connection of a broken answer goes back to the pool", BODY, "            if self._exchange.reusable:\n",
           "            if True:\n"),
    Mutant("a discarded connection stays open", POOL, "        connection.close()\n        self._busy.pop(connection, None)\n        self.release_slot()\n",
           "        self._busy.pop(connection, None)\n        self.release_slot()\n"),
    Mutant("a body closed early keeps its connection", BODY, "            self._pool.discard(connection)\n",
           "            self._pool.give_back(connection)\n"),
    Mutant("a dead kept connection is used", POOL, "if since > deadline and connection.is_quiet():",
           "if since > deadline:"),
    Mutant("a stale request is not sent again", "transport/transport.py", "            if connection.used and is_early and",
           "            if False and"),
    Mutant("the loser of a race goes on", RACE, "                    other.scope.cancel()\n", ""),
    Mutant("a drain has no end", EXCHANGE, "            self._work.deadline = trio.current_time() + limits.seconds\n", ""),
    Mutant("a stalled client keeps its upstream", ATTEMPT, 'self._watchdog.enter("stall", self._limits.stall)',
           'self._watchdog.enter("stall", None)'),
    # Limits
    Mutant("no limit to the first event", ATTEMPT, 'self._watchdog.enter("first_event", self._limits.first_event)',
           'self._watchdog.enter("first_event", None)'),
    Mutant("no limit to silence", ATTEMPT, '                    self._watchdog.enter("read", self._limits.read)\n',
           '                    self._watchdog.enter("read", None)\n'),
    # Slots
    Mutant("a slot of the router is not given back", EXCHANGE, "            self._gate.leave()\n", "            pass\n"),
    Mutant("a slot of a provider is not given back on a fault", CLIENT,
           "        except BaseException as fault:\n            if self._gate is not None:\n                self._gate.leave()\n",
           "        except BaseException as fault:\n"),
    Mutant("a slot is given back twice", CLIENT, "            self._gate.leave()\n\n", "            self._gate.leave()\n            self._gate.leave()\n\n"),
    # Routes
    Mutant("one retry too many", PLAN, "        if tries > most:\n", "        if tries > most + 1:\n"),
    Mutant("a target is asked again for ever", PLAN, "        if tries > most:\n            return None\n", ""),
    Mutant("Retry-After is not obeyed", PLAN, "            state.rest_until = max(state.rest_until, now + patience)\n",
           "            pass\n"),
    Mutant("a routed 500 is told at once", RETRY, "return status in _PASSING or (status >= 500 and status not in _LASTING)",
           "return status in _PASSING"),
    Mutant("a replay does not compare", REPLAY, "    if value[:common] != left[:common]:\n", "    if False:\n"),
    Mutant("a replay says all again", REPLAY, "    return value[common:], left[common:]\n", "    return value, left[common:]\n"),
    Mutant("a replay that is shorter is good", REPLAY, "        if any(not left.is_empty for left in self._left.values()):\n",
           "        if False:\n"),
    Mutant("the wrong encoder ends a raced stream", ROUTE, "            self._resumable.went_out(translator)\n", "            pass\n"),
    Mutant("an answer that was held back goes out in part", SINKS, '        frames = b"".join(self._held)\n',
           '        frames = b"".join(self._held[:1])\n'),
    Mutant("a torn answer is asked for again from its beginning", PLAN,
           '        self._is_over = self._route.policy.midstream == "error"\n', "        self._is_over = False\n"),
    Mutant("a target of another provider gets the first key", "routing/route.py", "return target.keyed[index] if target.keyed else target",
           "return target.keyed[0] if target.keyed else target"),
    Mutant("a refused key is used again", KEYS, "        self._circuits[index].failed(now, is_probe=True)\n", "        pass\n"),
    # Books
    Mutant("a request is not booked", ENGINE, "        for consume in self.consumers:\n", "        for consume in self.consumers[:0]:\n"),
    Mutant("requests are counted twice", "observe/metrics.py", "        requests.inc()\n", "        requests.inc(2)\n"),
    Mutant("the last cause of an end is the one", BOOKS, "        if self.record.outcome is None:\n            self.record.outcome = outcome\n",
           "        self.record.outcome = outcome\n"),
    Mutant("streams are not counted down", BOOKS, "            self._open_streams.dec()\n", "            pass\n"),
    Mutant("upstreams are not counted down", ATTEMPT, "            attempt._open_upstreams.dec()\n", ""),
    Mutant("usage is swapped", ATTEMPT, 'record.completion_tokens = _count(reader.usage, "completion_tokens")',
           'record.completion_tokens = _count(reader.usage, "prompt_tokens")'),
    Mutant("an attempt's usage is lost", "observe/record.py", "        self.prompt_tokens = _sum(self.prompt_tokens, attempt.prompt_tokens)\n", ""),
    Mutant("an error's key is told", ATTEMPT, "            fault.message = attempt._without_secrets(fault.message)\n", ""),
    # The server
    Mutant("answers of a pipeline in the wrong order", CONNECTIONS, "link = self._waiting.pop(0)", "link = self._waiting.pop()"),
    Mutant("a body that is too large is taken", REQUEST_BODY, "        if self._size > self._limit:\n            self._is_refused = True\n",
           "        if False:\n            self._is_refused = True\n"),
    Mutant("a draining router takes work", "api/endpoints.py", "    if router.is_draining:\n", "    if False:\n"),
    Mutant("an idle connection is kept at the end", CONNECTIONS, "            connection.close_if_idle()\n", "            pass\n"),
    Mutant("any key is good", "policy/keys.py", "        if found is None:\n", "        if False:\n"),
    Mutant("an id of another request", "api/request.py", 'answer.headers["x-request-id"] = self.record.request_id',
           'answer.headers["x-request-id"] = "r0"'),
]  # fmt: skip
