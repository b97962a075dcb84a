"""The network of a world: names, connects, and the router's side of connections as it knows sockets."""

from __future__ import annotations

import socket
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec
import outcome
import trio

from trio_router.simulation.pipes import Course, End, Pipe
from trio_router.transport.sockets import READ_SIZE, Wire
from trio_router.wire.written import unheard

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_router.simulation.chance import Chance
    from trio_router.simulation.history import Journal
    from trio_router.simulation.stage import Scheduler


class Connect(msgspec.Struct, frozen=True, omit_defaults=True):
    """What becomes of one attempt to connect, after `after` seconds."""

    kind: str = "ok"  # ok, refused, unreachable, no_name, hangs
    after: float = 0.0


class SimWire(Wire):
    """The router's side of a connection, as `SocketWire` is over a socket."""

    unwatched = 0
    readable_after_cancelled_send = True

    def __init__(self, end: End) -> None:
        self.end = end
        self._reader: Any = None  # the tasks that wait
        self._writer: Any = None
        self._watcher: Any = None
        end.cuts()
        end.inn.on_readable = self._wake_readers
        end.out.on_writable = self._wake_writer

    def send_some(self, data: bytes) -> int:
        self._check_open()
        return self.end.send(data)

    async def send(self, data: bytes | memoryview) -> None:
        await self.send_patiently(data, inf)

    async def send_patiently(
        self, data: bytes | memoryview, patience: float, moved: Callable[[], None] = unheard
    ) -> None:
        self._check_open()
        rest = memoryview(data)
        out = self.end.out
        while rest:
            if out.room > 0 or out.is_broken:
                await trio.lowlevel.checkpoint()
                self._check_open()
            elif patience == inf:
                await self._wait_writable()
            else:
                with trio.move_on_after(patience) as limit:
                    await self._wait_writable()
                if limit.cancelled_caught:
                    raise trio.TooSlowError
            rest = rest[self.end.send(rest) :]
            moved()

    async def send_eof(self) -> None:
        self._check_open()
        if self.end.out.is_broken:
            raise ConnectionResetError("the connection was reset")
        self.end.finish()

    async def receive(self, most: int = READ_SIZE) -> bytes:
        self._check_open()
        end = self.end
        if end.is_readable:
            await trio.lowlevel.checkpoint()
        while True:
            self._check_open()
            data = end.receive(most)
            if data is not None:
                return data
            self._reader = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort_reader)

    async def wait_hangup(self) -> None:
        self._check_open()
        while not self.end.has_hung_up:
            self._watcher = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort_watcher)

    def is_quiet(self) -> bool:
        return not self.end.is_closed and not self.end.is_readable

    def close(self) -> None:
        if not self.end.is_closed:
            self.end.close()
            for name in ("_reader", "_writer", "_watcher"):
                task = getattr(self, name)
                if task is not None:
                    setattr(self, name, None)
                    closed = trio.ClosedResourceError("another task closed this connection")
                    trio.lowlevel.reschedule(task, outcome.Error(closed))

    def _check_open(self) -> None:
        if self.end.is_closed:
            raise trio.ClosedResourceError("the connection was closed here")

    async def _wait_writable(self) -> None:
        out = self.end.out
        while out.room <= 0 and not out.is_broken:
            self._writer = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort_writer)
        self._check_open()

    def _wake_readers(self) -> None:
        task, self._reader = self._reader, None
        if task is not None:
            trio.lowlevel.reschedule(task)
        if self._watcher is not None and self.end.has_hung_up:
            task, self._watcher = self._watcher, None
            trio.lowlevel.reschedule(task)

    def _wake_writer(self) -> None:
        task, self._writer = self._writer, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _abort_reader(self, _: Any) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _abort_writer(self, _: Any) -> trio.lowlevel.Abort:
        self._writer = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _abort_watcher(self, _: Any) -> trio.lowlevel.Abort:
        self._watcher = None
        return trio.lowlevel.Abort.SUCCEEDED


class UpstreamWire(SimWire):
    """A router's side of a connection to a provider; it notes what is asked on one that is dead."""

    def __init__(self, end: End, note: Callable[[tuple[End, float]], None]) -> None:
        super().__init__(end)
        self._note = note
        self._taken = -1  # of the answers, when the last request was begun

    def send_some(self, data: bytes) -> int:
        self._look()
        return super().send_some(data)

    def _look(self) -> None:
        end, inn = self.end, self.end.inn
        if inn.taken != self._taken:  # a new request
            self._taken = inn.taken
            dead_for = end.stage.now - inn.readable_at
            if end.is_readable and dead_for > 0:
                self._note((end, dead_for))


class Host:
    """Something that can be connected to under a name.

    `connects` says what becomes of an attempt, `accept` is given the host's end of one that is well.
    `there` and `back` are the courses of what goes to the host and comes from it.
    """

    def __init__(
        self,
        accept: Callable[[End], None],
        connects: Callable[[], Connect],
        courses: Callable[[], tuple[Course, Course]],
    ) -> None:
        self.accept = accept
        self.connects = connects
        self.courses = courses


class Network:
    """Joins ends.  `ends` are the routers' own, all that ever were: (router, end)."""

    def __init__(self, stage: Scheduler, chance: Chance, history: Journal) -> None:
        self.hosts: dict[str, Host] = {}
        self.ends: list[tuple[str, End]] = []
        self.dead_ends: list[tuple[End, float]] = []  # asked on, so many seconds after its end
        self._stage = stage
        self._chance = chance
        self._history = history
        self._count = 0

    def join(self, one: str, other: str, there: Course, back: Course) -> tuple[End, End]:
        """Both ends of a new connection from `one` to `other`."""
        self._count += 1
        name = f"{one}>{other}#{self._count}"
        forth = Pipe(name, self._stage, self._chance, there, self._history)
        answer = Pipe(f"{other}>{one}#{self._count}", self._stage, self._chance, back, self._history)
        forth.opposite, answer.opposite = answer, forth
        ours = End(name, self._stage, answer, forth)
        theirs = End(name, self._stage, forth, answer)
        ours.peer, theirs.peer = theirs, ours
        return ours, theirs

    async def connect(self, who: str, name: str) -> Wire:
        """A connection of a router to a host.  Raises OSError."""
        host = self.hosts.get(name)
        fate = Connect("no_name") if host is None else host.connects()
        self._history.note(f"{who}>{name}", f"connects: {fate.kind}")
        if fate.kind == "hangs":
            await trio.sleep_forever()
        await trio.sleep(fate.after)
        if host is None or fate.kind == "no_name":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if fate.kind == "refused":
            raise ConnectionRefusedError(111, "Connection refused")
        if fate.kind == "unreachable":
            raise OSError(113, "No route to host")
        ours, theirs = self.join(who, name, *host.courses())
        self.ends.append((who, ours))
        wire = UpstreamWire(ours, self.dead_ends.append)
        host.accept(theirs)
        return wire
