from __future__ import annotations

import threading
from functools import partial

import trio


async def test_a_thread_that_works_is_waited_for_by_a_clock_that_jumps(autojump_clock):
    """The thread works for longer than a clock needs to jump."""
    let_go = threading.Event()
    with trio.fail_after(100):
        await trio.to_thread.run_sync(partial(let_go.wait, 0.2), abandon_on_cancel=True)
    assert trio.current_time() < 1


async def test_time_goes_on_when_the_last_thread_has_ended(autojump_clock):
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(trio.to_thread.run_sync, int)
    await trio.sleep(1000)
    with trio.move_on_after(5) as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught
