"""trio's run loop, without what nothing here needs: sockets to wait for, instruments, guests.

Tasks are stepped as trio steps them: those that can run make one pass, in an order that the seed
decides, and between two passes deadlines are looked at.  The stage acts at a place in each pass that
the seed decides too; while no task can run, it acts alone.  Half of the processor time of a world was
trio's own loop, so this one is about speed; it follows trio's line by line where tasks can see it.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import trio
from outcome import Error, Value
from trio._core import _run as trio_run
from trio._core._ki import enable_ki_protection
from trio._core._traps import CancelShieldedCheckpoint, WaitTaskRescheduled

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from trio_router.simulation.stage import Scheduler

_LOOK_EVERY = 500  # passes: for signals, such as that of Ctrl-C
_IN_ORDER = attrgetter("_counter")


class _Nothing:
    """An outcome of None that can be used again and again; trio makes one for each step."""

    def unwrap(self) -> None: ...


_NOTHING: Any = _Nothing()
_NO_SEND = trio_run._NO_SEND


def reschedule(runner: Any, task: Any, next_send: Any = _NO_SEND) -> None:
    """In place of `Runner.reschedule`."""
    assert task._next_send_fn is None
    task._next_send_fn = task.coro.send
    task._next_send = _NOTHING if next_send is _NO_SEND else next_send
    task._abort_func = None
    task.custom_sleep_data = None
    runner.runq.append(task)


def loop_for(stage: Scheduler, random: Callable[[], float]) -> Callable[..., Any]:
    """What stands in place of trio's `unrolled_run`; `random` decides the order of tasks."""

    @enable_ki_protection
    def unrolled_run(runner: Any, main: Any, args: Any) -> Generator[float, Any, None]:
        try:
            runner.entry_queue.wakeup.wakeup_on_signals()
            runner.clock.start_clock()
            runner.init_task = runner.spawn_impl(
                runner.init, (main, args), None, "<init>", system_task=True
            )
            passes = 0
            called = runner.entry_queue.queue  # what is to run soon, such as a generator's end
            tasks, runq, deadlines = runner.tasks, runner.runq, runner.deadlines
            while tasks:
                passes += 1
                if called or passes % _LOOK_EVERY == 0:
                    runner.io_manager.process_events((yield 0))
                if not runq and not stage.ready:
                    _go_on(runner, stage)
                elif deadlines._heap and deadlines._heap[0][0] <= stage.now:
                    deadlines.expire(stage.now)
                if runq:
                    _pass(runner, stage, random)
                else:
                    stage.act()
        except trio.TrioInternalError:
            raise
        except BaseException as fault:  # noqa: ASYNC103, ASYNC104 - it stands in for trio itself
            raise trio.TrioInternalError("the run loop failed") from fault  # noqa: ASYNC104
        finally:
            runner.close()
            trio_run.GLOBAL_RUN_CONTEXT.__dict__.clear()
            if runner.ki_pending:
                runner.main_task_outcome = Error(KeyboardInterrupt())

    return unrolled_run


def _go_on(runner: Any, stage: Scheduler) -> None:
    """All tasks wait: who waits for that is told, or else the next moment comes."""
    if runner.waiting_for_idle:
        key, task = runner.waiting_for_idle.peekitem(0)
        del runner.waiting_for_idle[key]
        runner.reschedule(task)
    else:
        stage.jump()
        runner.deadlines.expire(stage.now)


def _pass(runner: Any, stage: Scheduler, random: Callable[[], float]) -> None:
    """One step of each task that can run."""
    runq = runner.runq
    batch = list(runq)
    runq.clear()
    if len(batch) > 1:
        batch.sort(key=_IN_ORDER)
        trio_run._r.shuffle(batch)
    if not stage.ready:
        for task in batch:
            _step(runner, task)
        return
    turn = int(random() * (len(batch) + 1))
    for place, task in enumerate(batch):
        if place == turn:
            stage.act()
        _step(runner, task)
    if turn == len(batch):
        stage.act()


def _step(runner: Any, task: Any) -> None:
    trio_run.GLOBAL_RUN_CONTEXT.task = task
    send, value = task._next_send_fn, task._next_send
    task._next_send_fn = task._next_send = None
    try:
        message = task.context.run(send, value)
    except StopIteration as stop:
        ended: Any = Value(stop.value)
    except BaseException as fault:  # noqa: ASYNC103 - it stands in for trio itself
        trace = fault.__traceback__
        for _ in range(1 + trio_run.CONTEXT_RUN_TB_FRAMES):
            trace = trace and trace.tb_next
        ended = Error(fault.with_traceback(trace))
        del trace
    else:
        task._schedule_points += 1
        if message is CancelShieldedCheckpoint:
            task._next_send_fn = task.coro.send
            task._next_send = _NOTHING
            task._abort_func = task.custom_sleep_data = None
            runner.runq.append(task)
        elif type(message) is WaitTaskRescheduled:
            task._cancel_points += 1
            task._abort_func = message.abort_func
            if runner.ki_pending and task is runner.main_task:
                task._attempt_delivery_of_pending_ki()
            if task._cancel_status.effectively_cancelled:
                task._attempt_delivery_of_any_pending_cancel()
        else:
            raise TypeError(f"a task waits for what is not trio's: {message!r}")
        return
    runner.task_exited(task, ended)
