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
LINK, CONNECTION, CONNECTIONS, REQUEST_BODY = (
    "server/http1_link.py", "server/http1_connection.py", "server/connections.py",
    "server/request_body.py",
)  # fmt: skip
PUMP, WATCHDOG, USAGE = "relay/pump.py", "relay/watchdog.py", "dialects/usage.py"
ANSWER, TRANSLATE, NATIVE = "dialects/answer.py", "dialects/translate.py", "dialects/native.py"

MUTANTS = [
    # The end of a stream
    Mutant("a [DONE] after an error", STREAM, "(self._translator or self.call).fail(error)",
           '(self._translator or self.call).fail(error) + b"data: [DONE]\\n\\n"'),
    Mutant("an error is not told in the stream", STREAM,
           "            self.tail = (self._translator or self.call).fail(error)\n", "            pass\n"),
    Mutant("a cut is taken for an end", ANSWER, "        if clean and is_lenient and self.events:\n", "        if self.events:\n"),
    Mutant("a clean end is taken for a whole answer", ANSWER, "is_lenient = self._rules.lenient_end or self._is_document()",
           "is_lenient = True"),
    Mutant("no [DONE] where the upstream said none", TRANSLATE,
           "        if self.reader.failure is None:\n            frames.append(DONE)\n        return b\"\".join(frames)\n\n    def fail",
           "        return b\"\".join(frames)\n\n    def fail"),
    Mutant("[DONE] twice", TRANSLATE,
           "        if self.reader.is_done and self.reader.failure is None:\n            frames.append(DONE)\n        return frames[0]",
           "        if self.reader.is_done and self.reader.failure is None:\n            frames += [DONE, DONE]\n        return frames[0]"),
    Mutant("an end that the upstream has told is told again", NATIVE, "return self._api.end if is_told else", "return self._api.end if False else"),
    Mutant("a [DONE] that was cut is malformed", ANSWER, 'if not text.startswith(b"{"):', 'if not text.startswith((b"{", b"[DONE")):'),
    Mutant("an event that was cut is malformed", ANSWER, "if records and _is_cut(records[-1].data):", "if False:"),
    Mutant("what is left at the end is dropped", ANSWER, "items = self._read(self._without_cut(self._frames.receive_eof()))",
           "items = self._read([])"),
    Mutant("a limit that ends the linger is an error", ATTEMPT, "            if self.watchdog.is_over:\n", "            if False:\n"),
    Mutant("a whole answer waits for its body's end", PUMP, "        self._attempt.watchdog.rest(_LINGER)\n", ""),
    Mutant("a broken connection in mid-stream is an end", PUMP, "            clean = False\n", "            clean = True\n"),
    Mutant("an error in the stream is passed over", ANSWER, 'if record.event == b"error" or value.get("error"):',
           'if record.event == b"error":'),
    # Frames
    Mutant("a frame twice after a partial write", LINK,
           "        self._held = framed[sent:]\n        return Written.HELD",
           "        self._held = framed[sent:]\n        return Written.NONE"),
    Mutant("the rest of a partial write is lost", LINK, "        self._held = framed[sent:]\n", ""),
    Mutant("a held head is lost", LINK, "data, self._held = self._held + data, b\"\"", "self._held = b\"\""),
    Mutant("the first event is not sent", PUMP, "        return self._sink.put_nowait(frames)\n",
           "        is_first, self._is_later = not hasattr(self, '_is_later'), True\n        return is_first or self._sink.put_nowait(frames)\n"),
    Mutant("frames that wait are joined in the wrong order", STREAM, 'return b"".join(parts)',
           'return b"".join(reversed(parts))'),
    Mutant("usage is not told to who asked", TRANSLATE, "if not self._with_usage and not chunk.get(\"choices\") and chunk.get(\"usage\"):",
           "if not chunk.get(\"choices\") and chunk.get(\"usage\"):"),
    Mutant("the last chunk is left out", LINK, "await self._send(end + _LAST if self._is_chunked else end)",
           "await self._send(end)"),
    # Release
    Mutant("the upstream of a leaver is not closed", CLIENT, "        self._answer.body.close()\n", "        pass\n"),
    Mutant("a leaver is not told to its request", CONNECTION,
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
    Mutant("a stalled client keeps its upstream", ATTEMPT, 'self.watchdog.enter("stall", self.limits.stall)', 'self.watchdog.enter("stall", None)'),
    Mutant("a client that takes nothing is waited for", LINK, "stall = self._connection.server.stall", 'stall = float("inf")'),
    Mutant("a slow client counts as stalled", STREAM, "            self._on_moved()\n", "            pass\n"),
    # Limits
    Mutant("no limit to the first event", PUMP, 'attempt.watchdog.enter("first_event", attempt.limits.first_event)',
           'attempt.watchdog.enter("first_event", None)'),
    Mutant("no limit to silence", WATCHDOG, "deadline = math.inf if limit is None else now + limit", "deadline = math.inf"),
    Mutant("no limit to what says nothing", WATCHDOG,
           "self._progress_end = math.inf if progress is None else now + progress", "self._progress_end = math.inf"),
    Mutant("whatever comes is progress", WATCHDOG, "        if has_said:\n", "        if True:\n"),
    Mutant("no limit to a whole answer", "relay/whole.py", 'attempt.watchdog.first("response", attempt.limits.response)',
           'attempt.watchdog.first("response", None)'),
    Mutant("no limit to a whole stream", WATCHDOG, "self._end = math.inf if total is None else trio.current_time() + total",
           "self._end = math.inf"),
    Mutant("silence is not bridged", STREAM, "            self.put_nowait(self.call.keepalive)\n", "            pass\n"),
    Mutant("silence is bridged half as often", STREAM, "self._alarm.set(trio.current_time() + self._keepalive)",
           "self._alarm.set(trio.current_time() + 2 * self._keepalive)"),
    # Openings
    Mutant("an opening goes out before anything is said", ANSWER, "        if self.said:\n            self._opening = None\n",
           "        if True:\n            self._opening = None\n"),
    Mutant("an opening is lost", ANSWER, "            self._opening = None\n            return held\n",
           "            self._opening = None\n            return items\n"),
    Mutant("an answer that says nothing is good", ANSWER, "        if self.said == 0:\n            return Empty", "        if False:\n            return Empty"),
    Mutant("a status inside a 200 does not count", PUMP, "        return own_status(fault, self._attempt.target.provider, self._retry_after)\n",
           "        return fault\n"),
    Mutant("a status inside a whole 200 does not count", "relay/whole.py",
           "raise own_status(fault, attempt.target.provider, retry_after) from None", "raise"),
    Mutant("a call that was cut is whole", ANSWER, "        if self._has_cut_call():\n", "        if False:\n"),
    Mutant("one choice of several is enough", ANSWER, "return bool(self._finished) and self._choices <= self._finished",
           "return bool(self._finished)"),
    # Slots
    Mutant("a slot of the router is not given back", EXCHANGE, "            self._gate.leave()\n", "            pass\n"),
    Mutant("a slot of a provider is not given back on a fault", CLIENT,
           "        if self._gate is not None:\n            self._gate.leave()\n        if isinstance", "        if isinstance"),
    Mutant("a slot is given back twice", CLIENT, "            self._gate.leave()\n\n", "            self._gate.leave()\n            self._gate.leave()\n\n"),
    # Routes
    Mutant("one retry too many", PLAN, "        if tries > most:\n", "        if tries > most + 1:\n"),
    Mutant("a target is asked again for ever", PLAN, "        if tries > most:\n            return None\n", ""),
    Mutant("Retry-After is not obeyed", PLAN, "            state.rest.ask(now, patience, is_probe=state.rest.until - now > self._most_rest)\n",
           "            pass\n"),
    Mutant("a circuit never opens", CIRCUIT, "        if self._streak >= self.config.failures:\n            return True\n",
           "        return False\n"),
    Mutant("hedges have no budget", HEDGE, "        if self._tokens < 1 - 1e-9:\n            return False\n", ""),
    Mutant("a routed 500 is told at once", RETRY, "return status in _PASSING or (status >= 500 and status not in _LASTING)",
           "return status in _PASSING"),
    Mutant("a replay does not compare", REPLAY, "    if value[:common] != left[:common]:\n", "    if False:\n"),
    Mutant("a replay says all again", REPLAY, "    return value[common:], left[common:]\n", "    return value, left[common:]\n"),
    Mutant("a replay that is shorter is good", REPLAY, "        if any(not left.is_empty for left in self._left.values()):\n",
           "        if False:\n"),
    Mutant("the wrong encoder ends a raced stream", ROUTE, "            self._resumable.went_out(translator)\n", "            pass\n"),
    Mutant("an answer that was held back goes out in part", SINKS, '        frames = b"".join(self._held)\n',
           '        frames = b"".join(self._held[:1])\n'),
    # Not in the plan: who gives up a torn answer does it whatever the plan says.
    Mutant("a torn answer counts as one that has not begun", ROUTE,
           "if stream.has_begun and (was_begun or sink.has_answered):", "if stream.has_begun and was_begun:"),
    Mutant("a target of another provider gets the first key", "routing/route.py", "return target.keyed[index] if target.keyed else target",
           "return target.keyed[0] if target.keyed else target"),
    Mutant("a refused key is used again", KEYS, "        circuit.failed(now, probe=circuit.enter(now))\n", "        pass\n"),
    # Books
    Mutant("a request is not booked", ENGINE, "        for consume in self.consumers:\n", "        for consume in self.consumers[:0]:\n"),
    Mutant("requests are counted twice", "observe/metrics.py", "        requests.inc()\n", "        requests.inc(2)\n"),
    Mutant("the last cause of an end is the one", BOOKS, "        if self.record.outcome is None:\n            self.record.outcome = outcome\n",
           "        self.record.outcome = outcome\n"),
    Mutant("streams are not counted down", BOOKS, "            self._open_streams.dec()\n", "            pass\n"),
    Mutant("upstreams are not counted down", ATTEMPT, "            self._open_upstreams.dec()\n", ""),
    Mutant("open requests are not counted down", EXCHANGE, "        self._engine.metrics.requests_open.dec()\n", ""),
    Mutant("usage is swapped", USAGE, 'tokens(told, "prompt_tokens"), tokens(told, "completion_tokens")',
           'tokens(told, "prompt_tokens"), tokens(told, "prompt_tokens")'),
    Mutant("usage is told to who did not ask", TRANSLATE, "if not self._with_usage and not chunk.get(\"choices\") and chunk.get(\"usage\"):",
           "if False:"),
    Mutant("an attempt's usage is lost", "observe/record.py", "self.used = attempt.used if self.used is None else self.used + attempt.used", "self.used = self.used or attempt.used"),
    Mutant("an error's key is told", ATTEMPT, "            fault.message = without_secrets(fault.message, self.target.headers)\n", ""),
    # The server
    Mutant("answers of a pipeline in the wrong order", CONNECTION, "link = self._waiting.pop(0)", "link = self._waiting.pop()"),
    Mutant("a body that is too large is taken", REQUEST_BODY, "        if self._size > self._limit:\n            self._is_refused = True\n",
           "        if False:\n            self._is_refused = True\n"),
    Mutant("a draining router takes work", "api/endpoints.py", "    if router.is_draining:\n", "    if False:\n"),
    Mutant("an idle connection is kept at the end", CONNECTIONS, "            connection.close_if_idle()\n", "            pass\n"),
    Mutant("any key is good", "policy/keys.py", "        if found is None:\n", "        if False:\n"),
    Mutant("an id of another request", "api/request.py", 'answer.headers["x-request-id"] = self.record.request_id',
           'answer.headers["x-request-id"] = "r0"'),
]  # fmt: skip
