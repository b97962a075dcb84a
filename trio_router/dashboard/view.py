"""The next message for one watcher: what has changed since the last one.

The size of a message is bounded by the live requests: a slow watcher misses messages in between and
gets the latest state.  All times in it are milliseconds of the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from trio_router.observe.log import request_fields
from trio_router.observe.record import Stage

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from trio_router.observe.history import History, Slot
    from trio_router.observe.record import RequestRecord, TargetReport, Try
    from trio_router.runtime.reload import ReloadReport

MAX_ROWS = 5000  # live requests that are shown one by one; beyond, only their number is told
_COMPLAINTS = 5  # of a refused configuration, that are told
_SLICE = 100  # rows that are looked at in one go
_STAGES = {stage: place for place, stage in enumerate(Stage)}


@dataclass(frozen=True, slots=True)
class Scene:
    """One process at one moment.  `now` is seconds of the epoch, `current` the records' time."""

    worker: int
    workers: int
    version: str
    now: float
    current: float
    is_draining: bool
    history: History
    records: Sequence[RequestRecord]
    providers: Iterable[str]
    states: Iterable[TargetReport]
    refused: ReloadReport | None = None  # the last reload, if it was refused

    def epoch_ms(self, moment: float) -> int:
        """A record's time as the page has it."""
        return round((self.now - self.current + moment) * 1000)


class View:
    """What one watcher knows of one process."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[Any, ...]] = {}  # live requests, as they were told last
        self._slot = -1
        self._ended = 0

    def message(self, scene: Scene) -> dict[str, Any]:
        """The next message."""
        steps = self.build(scene)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            return cast("dict[str, Any]", end.value)

    def build(self, scene: Scene) -> Generator[None, None, dict[str, Any]]:
        """Makes the next message, and returns it; yields now and then, so that others can run."""
        told: dict[str, Any] = {
            "worker": scene.worker,
            "workers": scene.workers,
            "version": scene.version,
            "now": round(scene.now * 1000),
            "draining": scene.is_draining,
            "total": len(scene.records),
            "slots": self._slots(scene),
            "ended": self._new_ended(scene),
        }
        if (refused := scene.refused) is not None:
            told["refused"] = [round(refused.at * 1000), *refused.complaints[:_COMPLAINTS]]
        begun: list[Any] = []
        changed: list[Any] = []
        open_upstreams = dict.fromkeys(scene.providers, 0)
        seen: dict[int, tuple[Any, ...]] = {}
        for place, record in enumerate(scene.records):
            if place % _SLICE == _SLICE - 1:
                yield
            for attempt in record.tries:
                if attempt.ended_at is None and attempt.provider in open_upstreams:
                    open_upstreams[attempt.provider] += 1
            if place >= MAX_ROWS:
                continue
            self._look_at(record, scene, seen, begun, changed)
        told["gone"] = [number for number in self._rows if number not in seen]
        told["begun"], told["changed"] = begun, changed
        told["providers"] = self._providers(scene, open_upstreams)
        self._rows = seen
        return told

    def _look_at(
        self,
        record: RequestRecord,
        scene: Scene,
        seen: dict[int, tuple[Any, ...]],
        begun: list[Any],
        changed: list[Any],
    ) -> None:
        read = record.read_at
        now = (
            _STAGES[record.current_stage],
            record.chunks,
            -1 if read is None else round((read - record.started_at) * 1000),
            record.bytes_waiting,
            record.provider,
            record.model,
            record.key,
        )
        number = record.number
        seen[number] = now
        before = self._rows.get(number)
        if before is None or before[4:] != now[4:]:
            begun.append(
                [
                    number,
                    record.request_id,
                    record.key,
                    record.provider,
                    record.model,
                    scene.epoch_ms(record.started_at),
                    record.is_stream,
                ]
            )
        if before != now:
            changed.append([number, *now[:4]])

    def _slots(self, scene: Scene) -> list[Any]:
        slots = [slot for slot in scene.history.slots if slot.number >= self._slot]
        if slots:
            self._slot = slots[-1].number  # it is told again once it is complete
        return [_slot(slot) for slot in slots]

    def _new_ended(self, scene: Scene) -> list[Any]:
        fresh = [entry for entry in scene.history.recent if entry[0] > self._ended]
        self._ended = scene.history.ended_count
        return [_ended(record, at, scene) for _, at, record in fresh]

    def _providers(self, scene: Scene, open_upstreams: dict[str, int]) -> list[Any]:
        states: dict[str, list[Any]] = {}
        for state in scene.states:
            until = None if state.until is None else scene.epoch_ms(state.until)
            states.setdefault(state.provider, []).append(
                [state.model, state.state, until, state.reason]
            )
        told = []
        for name, upstreams in open_upstreams.items():
            last = scene.history.last_errors.get(name)
            error = None if last is None else [round(last.at * 1000), last.model, last.kind, last.text]
            told.append([name, upstreams, states.get(name, []), error])
        return told


def _slot(slot: Slot) -> list[Any]:
    series = [
        [
            provider,
            model,
            figures.open,
            figures.waiting,
            figures.ended,
            figures.failed,
            figures.chunks,
            figures.tokens,
            figures.tries,
            figures.errors,
            [part for pair in figures.first.items() for part in pair],
            figures.prompt,
            figures.cached,
        ]
        for (provider, model), figures in slot.series.items()
    ]
    return [slot.number, round(slot.lag * 1000, 2), series]


def _ended(record: RequestRecord, at: float, scene: Scene) -> dict[str, Any]:
    fields = request_fields(record)
    tries = [_try(attempt, scene) for attempt in record.tries]
    return {**fields, "number": record.number, "at": round(at * 1000), "tries": tries}


def _try(attempt: Try, scene: Scene) -> dict[str, Any]:
    def after(moment: float | None) -> int | None:
        return None if moment is None else round((moment - attempt.started_at) * 1000)

    return {
        "target": attempt.target,
        "at": scene.epoch_ms(attempt.started_at),
        "sent_ms": after(attempt.sent_at),
        "first_event_ms": after(attempt.first_event_at),
        "duration_ms": after(attempt.ended_at),
        "error": attempt.error,
        "error_text": attempt.error_text,
    }
