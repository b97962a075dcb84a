"""The last quarter of an hour, in slots."""

from __future__ import annotations

from hypothesis import given, strategies as st

from trio_router.dialects.usage import Usage
from trio_router.observe.history import RATIO, SLOT, SLOTS, History, bucket
from trio_router.observe.record import Outcome, RequestRecord, Try


def look(history: History, records, now: float) -> None:
    for _ in history.sample(records, now):
        pass


def labels(record: RequestRecord) -> tuple[str, str]:
    return record.provider, record.model


def request(provider: str = "p", model: str = "m", **fields) -> RequestRecord:
    return RequestRecord("r", 0.0, provider=provider, model=model, **fields)


class Reading:
    def __init__(self, events: int) -> None:
        self.events = events


def total(history: History, field: str) -> int:
    return sum(getattr(f, field) for slot in history.slots for f in slot.series.values())


def test_chunks_of_a_running_stream_fall_into_the_slots_they_came_in():
    history = History(labels)
    record = request(progress=Reading(3))
    look(history, [record], 0)
    record.progress.events = 10
    look(history, [record], SLOT)
    record.progress, record.chunks_processed = None, 12
    history.ended(record, 2 * SLOT)
    assert [slot.series["p", "m"].chunks for slot in history.slots] == [3, 7, 2]


def test_a_time_to_the_first_event_is_counted_once():
    history = History(labels)
    record = request(first_event_at=0.25)
    look(history, [record], 0)
    look(history, [record], SLOT)
    history.ended(record, 2 * SLOT)
    counts = [f.first for slot in history.slots for f in slot.series.values()]
    assert [sum(first.values()) for first in counts] == [1, 0, 0]


def test_no_more_slots_are_kept_than_a_quarter_of_an_hour_has():
    history = History(labels)
    for number in range(3 * SLOTS):
        history.ended(request(), number * SLOT)
    assert len(history.slots) == SLOTS
    assert len(history.recent) == 200
    assert history.ended_count == 3 * SLOTS


def test_names_without_end_share_one_series():
    history = History(labels)
    for number in range(1000):
        history.ended(request(model=f"made-up-{number}"), 0)
    assert len(history.slots[0].series) <= 65
    assert total(history, "ended") == 1000


def test_a_clock_that_is_set_back_loses_nothing():
    history = History(labels)
    history.ended(request(), 100 * SLOT)
    history.ended(request(), 10 * SLOT)
    assert total(history, "ended") == 2


def test_each_try_counts_for_its_own_target_even_if_the_request_went_well():
    history = History(labels)
    record = request(outcome=Outcome.COMPLETED)
    record.tries = [Try("bad", "x", 0, error="http_429", error_text="status 429"), Try("p", "m", 1)]
    history.ended(record, 50.0)
    series = history.slots[0].series
    assert {name: (f.ended, f.failed, f.tries, f.errors) for name, f in series.items()} == {
        ("p", "m"): (1, 0, 1, {}),
        ("bad", "x"): (0, 0, 1, {"http_429": 1}),
    }
    assert history.last_errors["bad"].kind == "http_429"


@given(st.floats(0.001, 200))
def test_a_bucket_is_no_further_off_than_its_ratio(seconds):
    upper = RATIO ** bucket(seconds) / 1000
    assert upper / RATIO * 0.999 <= seconds <= upper * 1.001


def test_what_was_read_from_caches_is_counted_beside_the_prompts_that_were_reported():
    history = History(labels)
    history.ended(request(used=Usage(100, cached=70)), 0)
    history.ended(request(used=Usage(50)), 0)
    history.ended(request(used=Usage(900, is_estimated=True)), 0)
    assert (total(history, "prompt"), total(history, "cached")) == (150, 70)
