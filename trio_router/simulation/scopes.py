"""trio's cancel scopes, entered and left in fewer steps: a request enters and leaves nine of them.

Each function stands in place of trio's own and leaves everything that is not plain to it.  What tasks
can see is the same: the tree of scopes, which of them is cancelled, and when.
"""

from __future__ import annotations

from math import inf
from typing import Any

from trio._core import _run as trio_run

_CONTEXT = trio_run.GLOBAL_RUN_CONTEXT
_Status = trio_run.CancelStatus
_close = trio_run.CancelScope._close
_enter = trio_run.CancelScope.__enter__


class _Changing:
    """See `changing_deadline`."""

    __slots__ = ("scope",)

    def __init__(self, scope: Any) -> None:
        self.scope = scope

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        scope = self.scope
        is_over = scope._cancel_status is None or scope._cancel_called
        _register(scope, inf if is_over else scope._deadline)


def _register(scope: Any, new: float) -> None:
    old = scope._registered_deadline
    if old != new:
        scope._registered_deadline = new
        deadlines = _CONTEXT.runner.deadlines
        if old != inf:
            deadlines.remove(old, scope)
        if new != inf:
            deadlines.add(new, scope)


def changing_deadline(scope: Any) -> _Changing:
    """In place of `CancelScope._might_change_registered_deadline`, which is a generator."""
    return _Changing(scope)


def entered(scope: Any) -> Any:
    """In place of `CancelScope.__enter__`."""
    task = _CONTEXT.task
    parent = task._cancel_status
    if scope._has_been_entered or parent is None or parent.effectively_cancelled:
        return _enter(scope)
    deadline = scope._deadline
    if scope._relative_deadline != inf:
        deadline = _CONTEXT.runner.current_time() + scope._relative_deadline
    if scope._cancel_called or deadline <= _CONTEXT.runner.current_time():
        return _enter(scope)
    scope._has_been_entered = True
    scope._deadline, scope._relative_deadline = deadline, inf
    status = scope._cancel_status = _Status(scope=scope, parent=parent)
    parent._tasks.remove(task)
    status._tasks.add(task)
    task._cancel_status = status
    if deadline != inf:
        _register(scope, deadline)
    return scope


def begun(status: Any) -> None:
    """In place of `CancelStatus.__attrs_post_init__`: most begin where nothing is cancelled."""
    parent = status._parent
    if parent is not None:
        parent._children.add(status)
        if parent.effectively_cancelled or status._scope._cancel_called:
            status.recalculate()


def left(scope: Any, fault: BaseException | None) -> BaseException | None:
    """In place of `CancelScope._close`: most are left by their own task, without an exception."""
    status, task = scope._cancel_status, _CONTEXT.task
    if fault is not None or status is None or status is not task._cancel_status or status._children:
        return _close(scope, fault)
    parent = status._parent
    if parent is None or parent.effectively_cancelled or len(status._tasks) > 1:
        return _close(scope, fault)
    status._tasks.remove(task)
    parent._tasks.add(task)
    task._cancel_status = parent
    parent._children.remove(status)
    status._parent = None
    scope._cancel_status = None
    _register(scope, inf)
    return None
