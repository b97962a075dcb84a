"""A world written down: everything that a seed decides before it begins, as plain data.

A plan can be saved as YAML or JSON, read again (`--world FILE`), and made smaller while it still fails.
Times are in seconds, sizes in bytes, unless it is said.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trio_router.simulation.network import Connect
from trio_router.simulation.pipes import WELL, Course


class ToolCall(msgspec.Struct, frozen=True):
    name: str
    arguments: str  # compact JSON of an object


class Meaning(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model means to say, whatever the dialect."""

    text: str = ""
    thoughts: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: str = "stop"  # stop, length, tool_calls, content_filter
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """What goes wrong with one answer.

    `kind`, before the headers: status, close, reset, silence, redirect, garbage; instead of an answer:
    html, empty, usage_only; in mid-answer, after the share `at` of its events: cut, fin, broken, stall,
    comments, trickle, error_event, bad_json, bad_shape, bad_framing, too_large, no_finish, early_done
    (`[DONE]` comes at once, where the dialect has it).
    """

    kind: str
    at: float = 0.5
    status: int = 500
    retry_after: str = ""
    body: str = "own"  # of a status: own, html, empty, key (it quotes the key it was given)


class Style(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an answer is put into bytes, and how fast these come."""

    piece: int = 0  # characters of text an event; 0: all in one
    gather: int = 1  # events a write; 0: all in one
    newline: str = "\n"
    space: bool = True  # after `data:`
    comments: bool = False
    bom: bool = False
    framing: str = "chunked"  # chunked, length, eof
    usage: str = "own"  # own event, last (with the finish), none
    done: bool = True  # `[DONE]` is sent, where the dialect has it
    role: bool = True  # the first event says nothing but the role
    as_json: bool = False  # one JSON body, though a stream was asked for
    as_array: bool = False  # Gemini's JSON array
    broken_utf8: bool = False  # U+FFFD of the text is sent as a byte that is no UTF-8
    invites: bool = False  # `100 Continue` comes first
    closes: bool = False  # `connection: close`
    head: float = 0.0  # s before the head
    first: float = 0.0  # s between head and first event
    gap: float = 0.0  # s between writes
    end: float = 0.0  # s between the last event and the end of the body


class Take(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a provider does when it is asked."""

    answer: Meaning
    style: Style = Style()
    fault: Fault | None = None


class Outage(msgspec.Struct, frozen=True, omit_defaults=True):
    """From `begin` to `end` a provider does what `fault` says, or refuses connections."""

    begin: float
    end: float
    fault: Fault | None = None  # None: connections are refused


class Provider(msgspec.Struct, omit_defaults=True):
    """One host.  `connects` and `courses` are taken in turn by its connections."""

    name: str
    dialect: str
    connects: tuple[Connect, ...] = (Connect(),)
    courses: tuple[tuple[Course, Course], ...] = ((WELL, WELL),)
    outages: tuple[Outage, ...] = ()
    keep_alive: float = 60.0  # s that it keeps a connection without a request
    closes_after: int = 0  # requests on a connection after which it is closed; 0: never


class Leave(msgspec.Struct, frozen=True, omit_defaults=True):
    """When a client leaves: after so many bytes of answer, or so long after its request was begun."""

    kind: str = "close"  # close, reset, half (it ends its side and stays)
    after_bytes: int = -1
    after: float = -1.0


class Ask(msgspec.Struct, omit_defaults=True):
    """One request of a client, and what each provider does about it, by attempt."""

    id: int
    api: str  # chat, messages, responses, completions, embeddings, models, nonsense...
    model: str
    takes: dict[str, tuple[Take, ...]] = {}
    is_stream: bool = False
    with_usage: bool = False
    prompt: str = ""
    extra: dict[str, Any] = {}  # more fields of the body
    auth: str = "good"  # good, bad, none
    wait: float = 0.0  # s before it is sent, after the last answer
    is_pipelined: bool = False  # sent without waiting for the answer before it
    pieces: int = 1  # of the request, sent one by one
    piece_gap: float = 0.0  # s between them
    framing: str = "length"  # length, chunked, expect
    nonsense: str = ""  # a kind of request that is none
    leave: Leave | None = None
    read_most: int = 65536  # bytes a read
    read_gap: float = 0.0  # s between reads
    stall_at: int = -1  # after so many bytes it reads no more
    stall: float = 0.0  # for so long


class Caller(msgspec.Struct, omit_defaults=True):
    """One connection of a client, and what is asked on it."""

    id: int
    start: float = 0.0
    machine: int = 0
    there: Course = WELL
    back: Course = WELL
    asks: list[Ask] = []


class Deed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an operator does to a machine.

    `do` is drain (SIGTERM), stop (ends the request `argument`, as the dashboard does), write (the
    configuration's file has `WorldPlan.configs[argument]` now), hangup (SIGHUP), die (SIGKILL), or
    start (another process, in place of one that has ended).
    """

    at: float
    do: str
    machine: int = 0
    argument: int = 0


class WorldPlan(msgspec.Struct, omit_defaults=True):
    """All of a world.  `config` is the routers' own, with URLs that name hosts of this network.

    `configs` are others that operators put in its place: good ones as data, bad ones as text.
    """

    seed: int
    config: dict[str, Any]
    providers: list[Provider] = []
    callers: list[Caller] = []
    deeds: list[Deed] = []
    configs: list[dict[str, Any] | str] = []
    machines: int = 1
    haste: int = 3
    patience: float = 1200.0  # s after which what has not ended is a failure


def plan_from(text: bytes) -> WorldPlan:
    """A plan from YAML or JSON.  Raises msgspec.DecodeError (msgspec.ValidationError is one)."""
    # YAML takes some characters for line ends, or refuses them, that JSON's strings may have.
    decode = msgspec.json.decode if text.lstrip().startswith(b"{") else msgspec.yaml.decode
    return decode(text, type=WorldPlan)


def plan_text(plan: WorldPlan) -> str:
    return msgspec.json.format(msgspec.json.encode(plan), indent=1).decode()
