"""A request's work and its tasks."""

from __future__ import annotations

import pytest
import trio

from trio_router.relay.tasks import RequestTasks


async def test_tasks_that_still_run_end_with_the_work(autojump_clock):
    tasks, ended = RequestTasks(), []

    async def lasting() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async def work() -> None:
        nursery = await tasks.nursery()
        assert await tasks.nursery() is nursery
        nursery.start_soon(lasting)
        await trio.sleep(3)

    began = trio.current_time()
    await tasks.run(work)
    assert ended == [began + 3]


async def test_work_that_starts_no_task_has_no_nursery(autojump_clock):
    tasks = RequestTasks()
    before = list(trio.lowlevel.current_task().child_nurseries)

    async def work() -> None:
        assert trio.lowlevel.current_task().child_nurseries == before

    await tasks.run(work)


async def test_cancel_ends_the_work_and_its_tasks(autojump_clock):
    tasks, ended = RequestTasks(), []

    async def lasting(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)

    async def work() -> None:
        (await tasks.nursery()).start_soon(lasting, "task")
        await lasting("work")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tasks.run, work)
        await trio.testing.wait_all_tasks_blocked()
        tasks.cancel()
    assert sorted(ended) == ["task", "work"]


async def test_work_that_is_cancelled_before_it_begins_goes_no_further_than_its_first_wait():
    tasks, seen = RequestTasks(), []

    async def work() -> None:
        seen.append("begun")
        await trio.lowlevel.checkpoint()
        seen.append("more")

    tasks.cancel()
    await tasks.run(work)
    assert seen == ["begun"]


async def test_a_task_that_fails_ends_the_work(autojump_clock):
    tasks = RequestTasks()

    async def fail() -> None:
        raise ValueError("no")

    async def work() -> None:
        (await tasks.nursery()).start_soon(fail)
        await trio.sleep_forever()

    with pytest.RaisesGroup(ValueError):
        await tasks.run(work)


@pytest.mark.parametrize("has_nursery", [False, True])
async def test_what_the_work_raises_is_raised(has_nursery):
    tasks = RequestTasks()

    async def work() -> None:
        if has_nursery:
            await tasks.nursery()
        raise KeyError("no")

    with pytest.RaisesGroup(KeyError, allow_unwrapped=True):
        await tasks.run(work)


async def test_a_cancel_from_outside_goes_through(autojump_clock):
    tasks = RequestTasks()

    async def work() -> None:
        await tasks.nursery()
        await trio.sleep_forever()

    with trio.move_on_after(2) as scope:
        await tasks.run(work)
    assert scope.cancelled_caught
