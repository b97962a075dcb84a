"""The workers' sockets towards each other.

In a folder that only this user may enter, each worker listens on a socket of its own.  A question is a
line of JSON whose `do` names who answers it: `watch` and `stop` (the dashboard), `reload` (the
configuration).  The answers are lines of JSON.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from trio_router.transport.sockets import BROKEN
from trio_router.wire.jsoncodec import JSONError, dumps, loads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Answer = Callable[[dict[str, Any], trio.SocketStream], Awaitable[None]]

logger = logging.getLogger("trio_router")
_LONGEST = 1 << 25  # bytes of one line
_READ = 1 << 16


class Peers:
    """`count` workers, of which this process is number `mine`."""

    def __init__(self, folder: Path, mine: int, count: int) -> None:
        self.mine = mine
        self.count = count
        self.folder = folder
        self._answers: dict[str, Answer] = {}

    @property
    def others(self) -> list[int]:
        """The numbers of the other workers."""
        return [worker for worker in range(self.count) if worker != self.mine]

    def _path(self, worker: int) -> str:
        return str(self.folder / f"worker-{worker}.sock")

    async def connect(self, worker: int, question: dict[str, Any]) -> trio.SocketStream:
        """A connection on which `question` has been asked.  Raises one of BROKEN."""
        stream = await trio.open_unix_socket(self._path(worker))
        try:
            await stream.send_all(dumps(question) + b"\n")
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    def on(self, do: str, answer: Answer) -> None:
        """From now on `answer` takes the questions whose `do` is this."""
        self._answers[do] = answer

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answers the other workers, until cancelled.  Starts when they can connect."""
        path = trio.Path(self._path(self.mine))
        with suppress(FileNotFoundError):
            await path.unlink()  # of the worker that this one replaces
        with trio.socket.socket(trio.socket.AF_UNIX) as listener:
            await listener.bind(str(path))
            listener.listen()

            async def handle(stream: trio.SocketStream) -> None:
                async with stream:
                    try:
                        async for question in Lines(stream):
                            asked = loads(question)
                            await self._answers[asked["do"]](asked, stream)
                    except BROKEN:
                        pass  # the other has gone
                    except Exception:
                        logger.exception("another worker's question failed")  # streams go on

            task_status.started()
            await trio.serve_listeners(handle, [trio.SocketListener(listener)])


class Lines:
    """The lines that come on a stream, each without its end.  Reading raises one of BROKEN.

    No generator: one that is left in the middle would have to be closed.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._held = bytearray()

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> bytes:
        while (end := self._held.find(b"\n")) < 0:
            data = await self._stream.receive_some(_READ)
            if not data or len(self._held) > _LONGEST:
                raise StopAsyncIteration
            self._held += data
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line


async def asked(
    peers: Peers, worker: int, question: dict[str, Any], patience: float = 2
) -> dict[str, Any]:
    """What `worker` answers; nothing if it does not answer within `patience` seconds."""
    with trio.move_on_after(patience), suppress(*BROKEN, JSONError):
        stream = await peers.connect(worker, question)
        async with stream:
            async for line in Lines(stream):
                answer: dict[str, Any] = loads(line)
                return answer
    return {}
