"""What only the cyclic collector would find: whether any of it is ours, and what holds it."""

from __future__ import annotations

import gc
import inspect
import types
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httptools
import trio

import trio_router

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOME = str(Path(trio_router.__file__).parent)
_PARSERS = (httptools.HttpRequestParser, httptools.HttpResponseParser)
_RUNNING = (trio.Nursery, trio.CancelScope, trio.lowlevel.Task)


class Garbage:
    """What was found: `ours` is how much of each kind is the project's own, `cycles` why."""

    def __init__(self) -> None:
        self.ours: Counter[str] = Counter()
        self.cycles: list[str] = []

    def look_at(self, found: list[Any]) -> None:
        # Names alone are kept: what is held here would be found again.
        self.ours = Counter(name for one in found if (name := _name_of_ours(one)))
        cycles: dict[frozenset[str], str] = {}
        known = {id(one) for one in found} - {id(found)}
        if self.ours:
            for one in found:
                if cycle := _cycle_of(one, known):
                    cycles.setdefault(frozenset(cycle), " -> ".join(cycle))
        self.cycles = list(cycles.values())

    def __str__(self) -> str:
        return "\n".join([f"left to the collector: {dict(self.ours)}", *self.cycles])


@contextmanager
def collected() -> Iterator[Garbage]:
    """Collects nothing within the block; then tells what of the block's only the collector finds.

    The fixture `what_was_there_stands_aside` makes it quick.
    """
    garbage = Garbage()
    was_enabled, flags = gc.isenabled(), gc.get_debug()
    gc.collect()
    gc.disable()
    try:
        yield garbage
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        garbage.look_at(gc.garbage)
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()
        gc.collect()
        if was_enabled:
            gc.enable()


def _cycle_of(one: Any, known: set[int]) -> list[str]:
    """The shortest way from `one` back to itself through `known`; nothing if there is none."""
    ways: dict[int, list[Any]] = {id(one): [one]}
    waiting = [one]
    for at in waiting:
        for held in gc.get_referents(at):
            if held is one:
                return [_name(step) for step in (*ways[id(at)], one)]
            if id(held) in known and id(held) not in ways:
                ways[id(held)] = [*ways[id(at)], held]
                waiting.append(held)
    return []


def _name_of_ours(one: Any) -> str:
    """What `one` is called, if it is ours or holds what is ours; else nothing."""
    code = _code_of(one)
    if code is not None:
        is_ours = code.co_filename.startswith(_HOME)
    elif isinstance(one, trio.lowlevel.Task):
        is_ours = True
    else:
        kind = one if isinstance(one, type) else type(one)
        is_ours = kind.__module__.partition(".")[0] == "trio_router"
    return _name(one) if is_ours or isinstance(one, _PARSERS + _RUNNING) else ""


def _code_of(one: Any) -> types.CodeType | None:
    match one:
        case types.FrameType():
            return one.f_code
        case types.MethodType():
            return getattr(one.__func__, "__code__", None)
        case types.FunctionType():
            return one.__code__
        case types.TracebackType():
            return one.tb_frame.f_code
    if inspect.iscoroutine(one):
        return one.cr_code
    if inspect.isgenerator(one):
        return one.gi_code
    return one.ag_code if inspect.isasyncgen(one) else None


def _name(one: Any) -> str:
    code = _code_of(one)
    kind = type(one).__qualname__
    if code is not None:
        return f"{kind} {code.co_qualname}"
    if isinstance(one, dict):
        return f"dict of {', '.join(map(str, list(one)[:4]))}"
    return kind
