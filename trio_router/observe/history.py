"""The last 15 minutes in slots of five seconds, by provider and model; and the last ended requests.

Running streams are sampled once a slot (`sample`) and counted once when they end (`ended`), so a chunk
costs nothing.  Times to the first event are counts in buckets of equal ratio, so that percentiles can
be computed for any selection of models over any span.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trio_router.observe.record import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trio_router.observe.record import RequestRecord, Try

    Labels = tuple[str, str]
    LabelsOf = Callable[[RequestRecord | Try], Labels]

SLOT = 5  # s
SLOTS = 180
RATIO = 1.15  # ratio of the bounds of two buckets; bucket n holds times up to RATIO**n ms
_LAST_BUCKET = 90
_MAX_SERIES = 64  # in one slot; the rest are counted together
_OTHERS = ("", "other")
_SLICE = 100  # records that are sampled in one step
_ENDED = 200  # ended requests that are kept


def bucket(seconds: float) -> int:
    milliseconds = seconds * 1000
    if milliseconds <= 1:
        return 0
    return min(_LAST_BUCKET, math.ceil(math.log(milliseconds, RATIO)))


@dataclass(slots=True)
class Figures:
    """The figures of one model in one slot."""

    open: int = 0  # requests under way when the slot was last sampled
    waiting: int = 0  # bytes that waited for clients at that moment
    ended: int = 0
    failed: int = 0
    chunks: int = 0
    tokens: int = 0  # completion tokens, as upstreams report them
    prompt: int = 0  # tokens of prompts, as upstreams report them
    cached: int = 0  # of these, tokens that were read from upstreams' caches
    tries: int = 0
    errors: dict[str, int] = field(default_factory=dict)  # failed tries, by kind
    first: dict[int, int] = field(default_factory=dict)  # times to the first event, by bucket


@dataclass(slots=True)
class Slot:
    number: int  # the slot began at `number * SLOT` seconds of the epoch
    series: dict[Labels, Figures] = field(default_factory=dict)
    lag: float = 0.0  # s, the longest lag of the event loop

    def of(self, labels: Labels) -> Figures:
        figures = self.series.get(labels)
        if figures is None:
            if len(self.series) >= _MAX_SERIES:
                labels = _OTHERS
            figures = self.series.setdefault(labels, Figures())
        return figures


@dataclass(frozen=True, slots=True)
class LastError:
    """The last error of a provider.  `at`: seconds of the epoch."""

    at: float
    model: str
    kind: str
    text: str


class History:
    """What the dashboard shows about the past.  `now` is always in seconds of the epoch."""

    def __init__(self, labels: LabelsOf) -> None:
        self.slots: deque[Slot] = deque(maxlen=SLOTS)
        self.recent: deque[tuple[int, float, RequestRecord]] = deque(maxlen=_ENDED)
        self.ended_count = 0
        self.last_errors: dict[str, LastError] = {}
        self._labels = labels

    def slot(self, now: float) -> Slot:
        number = int(now // SLOT)
        if not self.slots or number > self.slots[-1].number:
            self.slots.append(Slot(number))
        return self.slots[-1]

    def sample(self, records: Iterable[RequestRecord], now: float) -> Iterator[None]:
        """Samples all running requests; yields now and then, so that other tasks can run."""
        slot = self.slot(now)
        for figures in slot.series.values():
            figures.open = figures.waiting = 0
        for place, record in enumerate(records, 1):
            if place % _SLICE == 0:
                yield
            if record.ended_at is not None:
                continue  # it ended meanwhile
            figures = slot.of(self._labels(record))
            figures.open += 1
            figures.waiting += record.bytes_waiting
            _take_progress(record, figures)

    def ended(self, record: RequestRecord, now: float) -> None:
        """Takes a request that has ended, once."""
        slot, own = self.slot(now), self._labels(record)
        figures = slot.of(own)
        _take_progress(record, figures)
        figures.ended += 1
        figures.failed += record.outcome in FAULTS
        figures.tokens += record.completion_tokens or 0
        if not record.is_estimated:
            figures.prompt += record.prompt_tokens or 0
            figures.cached += record.cached_tokens or 0
        for attempt in record.tries:
            is_own = (attempt.provider, attempt.model) == (record.provider, record.model)
            figures = slot.of(own if is_own else self._labels(attempt))
            figures.tries += 1
            if attempt.error is not None:
                figures.errors[attempt.error] = figures.errors.get(attempt.error, 0) + 1
                self.last_errors[attempt.provider] = LastError(
                    now, attempt.model, attempt.error, attempt.error_text
                )
        self.ended_count += 1
        self.recent.append((self.ended_count, now, record))

    def lagged(self, seconds: float, now: float) -> None:
        slot = self.slot(now)
        slot.lag = max(slot.lag, seconds)


def _take_progress(record: RequestRecord, figures: Figures) -> None:
    chunks = record.chunks
    figures.chunks += chunks - record.seen_chunks
    record.seen_chunks = chunks
    if not record.seen_first and record.first_event_after is not None:
        record.seen_first = True
        at = bucket(record.first_event_after)
        figures.first[at] = figures.first.get(at, 0) + 1
