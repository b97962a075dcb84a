"""Feeds a watcher or a peer once a second with the views of this process and of the other workers.

A view is built only when the one before has been taken: a slow watcher misses those in between, and
delays nobody.  While nobody watches, nothing runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from trio_router.dashboard.view import Scene, View
from trio_router.errors import Stopped
from trio_router.observe.record import Outcome
from trio_router.runtime.peers import Lines, asked
from trio_router.transport.sockets import BROKEN
from trio_router.version import __version__
from trio_router.wire.jsoncodec import dumps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_router.relay.stream import WriteNow
    from trio_router.runtime.peers import Peers
    from trio_router.runtime.reload import Reloader
    from trio_router.runtime.router import Router

    Put = Callable[[bytes], Awaitable[None]]

_BEAT = 1.0  # s
_FRESH = 0.9  # s that a sample of the running streams serves all who watch


class Board:
    """What this process shows of itself; with `peers`, what all workers show."""

    def __init__(self, router: Router, peers: Peers | None, reloader: Reloader | None = None) -> None:
        self._router = router
        self._reloader = reloader
        self._peers = peers
        self._sampled_at = 0.0
        self.worker = 0 if peers is None else peers.mine
        self.workers = 1 if peers is None else peers.count
        if peers is not None:
            peers.on("watch", self._answer_watch)
            peers.on("stop", self._answer_stop)

    async def scene(self) -> Scene:
        router = self._router
        now = self._router.clock.wall()
        if abs(now - self._sampled_at) > _FRESH:
            self._sampled_at = now
            await router.sample()
            now = self._router.clock.wall()
        return Scene(
            worker=self.worker,
            workers=self.workers,
            version=__version__,
            now=now,
            current=trio.current_time(),
            is_draining=router.is_draining,
            history=router.observation.history,
            records=sorted((e.record for e in router.engine.running), key=lambda record: record.number),
            providers=router.generation.config.providers,
            states=router.target_reports(),
            refused=None if self._reloader is None else self._reloader.refusal,
        )

    async def tell(self, put: Put) -> None:
        """Gives `put` this process's view, a line of JSON each beat, until cancelled."""
        view = View()
        while True:
            due = trio.current_time() + _BEAT
            message = None
            steps = view.build(await self.scene())
            while message is None:
                try:
                    next(steps)
                    await trio.lowlevel.checkpoint()
                except StopIteration as end:
                    message = end.value
            await put(dumps(message))
            await trio.sleep_until(due)

    async def tell_all(self, nursery: trio.Nursery, put: Put) -> None:
        """Gives `put` the views of all workers; one that is away is told of as `{"away": number}`."""
        if self._peers is not None:
            for worker in self._peers.others:
                nursery.start_soon(self._tell_other, self._peers, worker, put)
        await self.tell(put)

    async def _tell_other(self, peers: Peers, worker: int, put: Put) -> None:
        while True:
            try:
                async with await peers.connect(worker, {"do": "watch"}) as stream:
                    async for line in Lines(stream):
                        await put(line)
            except BROKEN:
                pass
            await put(dumps({"away": worker}))
            await trio.sleep(_BEAT)

    async def stop(self, worker: int, number: int, request_id: str) -> bool:
        """Ends a live request of `worker`; False if there is no such request any more."""
        if worker == self.worker:
            return self._stop(number, request_id)
        if self._peers is None or worker not in self._peers.others:
            return False
        question = {"do": "stop", "number": number, "request_id": request_id}
        return bool((await asked(self._peers, worker, question)).get("stopped"))

    async def _answer_watch(self, _: dict[str, Any], stream: trio.SocketStream) -> None:
        await self.tell(lambda line: stream.send_all(line + b"\n"))

    async def _answer_stop(self, question: dict[str, Any], stream: trio.SocketStream) -> None:
        stopped = self._stop(question["number"], question["request_id"])
        await stream.send_all(dumps({"stopped": stopped}) + b"\n")

    def _stop(self, number: int, request_id: str) -> bool:
        for exchange in self._router.engine.running:
            if exchange.record.number == number and exchange.record.request_id == request_id:
                exchange.abort(Stopped("an operator of the router ended this request"), Outcome.STOPPED)
                return True
        return False


class WatchReply:
    """The page's event stream, as the client's side takes a stream."""

    tail = b""
    is_torn = False

    def __init__(self, board: Board, nursery: trio.Nursery) -> None:
        self._send, self._frames = trio.open_memory_channel[bytes](0)
        nursery.start_soon(board.tell_all, nursery, self._put)

    async def _put(self, line: bytes) -> None:
        await self._send.send(b"data: %b\n\n" % line)

    async def next(self, write_now: WriteNow) -> bytes:
        return await self._frames.receive()

    def moved(self) -> None:
        pass  # nobody waits for room for long: who tells the pages has no limit
