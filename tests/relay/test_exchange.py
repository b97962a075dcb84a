"""The channel between the upstream's task and the client's, where both have ends of their own."""

from __future__ import annotations

from types import SimpleNamespace

import trio
import trio.testing

from trio_router.relay.stream import StreamRun
from trio_router.wire.written import Written


async def test_no_comment_follows_a_stream_that_was_cancelled():
    """The silence's alarm may ring between the end of the upstream's task and the client's."""
    moving = trio.CancelScope()

    run = StreamRun(SimpleNamespace(bytes_waiting=0), SimpleNamespace(keepalive=b": \n\n"), 10)
    said = []

    async def move() -> None:
        with moving:
            try:
                with run.sending():
                    await trio.sleep_forever()
            finally:
                run._comment()

    async def take() -> None:
        said.append(await run.next(lambda data: Written.NONE))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(move)
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        moving.cancel()
    assert said == [None]
