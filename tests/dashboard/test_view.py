"""What a watcher is told: put together, it is what there is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from trio_router.dashboard.view import MAX_ROWS, Scene, View
from trio_router.observe.history import History
from trio_router.observe.record import Outcome, RequestRecord, Stage, TargetReport, Try
from trio_router.runtime.reload import ReloadReport, Result, Trigger
from trio_router.wire.jsoncodec import dumps, loads


def look(history: History, records, now: float) -> None:
    for _ in history.sample(records, now):
        pass


def labels(record: RequestRecord) -> tuple[str, str]:
    return record.provider, record.model


def scene(records=(), *, history: History | None = None, now: float = 1000.0, states=()) -> Scene:
    return Scene(
        worker=0,
        workers=1,
        version="v",
        now=now,
        current=now - 900,
        is_draining=False,
        history=history or History(labels),
        records=list(records),
        providers=["p"],
        states=states,
    )


class Page:
    """What the page holds, kept as it keeps it."""

    def __init__(self) -> None:
        self.rows: dict[int, list] = {}
        self.ended: list[dict] = []
        self.slots: dict[int, list] = {}

    def apply(self, message: dict) -> None:
        message = loads(dumps(message))  # as it travels
        for number in message["gone"]:
            del self.rows[number]
        for number, *fields in message["begun"]:
            self.rows[number] = [*fields[1:4], *self.rows.get(number, [None] * 7)[3:]]
        for number, *fields in message["changed"]:
            self.rows[number] = [*self.rows[number][:3], *fields]
        self.ended += message["ended"]
        self.slots |= {number: series for number, _, series in message["slots"]}


STEPS = st.lists(st.sampled_from(["begin", "end", "chunk", "move", "route", "look"]), max_size=60)


@given(STEPS, st.randoms(use_true_random=False))
def test_the_page_has_what_there_is_however_seldom_it_looks(steps, random):
    history, live, view, page = History(labels), [], View(), Page()
    ended = 0
    stages = list(Stage)
    for now, step in enumerate([*steps, "look"], 1000):
        if step == "begin":
            record = RequestRecord(f"r{now}", float(now - 900), number=now, provider="p", model="m")
            live.append(record)
        elif step == "look":
            look(history, live, now)
            page.apply(view.message(scene(live, history=history, now=now)))
        elif live:
            record = random.choice(live)
            if step == "end":
                live.remove(record)
                history.ended(record, now)
                ended += 1
            elif step == "chunk":
                record.chunks_processed += random.randint(1, 9)
                record.last_read_at = now - 900
            elif step == "move":
                record.stage = random.choice(stages)
            else:
                record.model = random.choice(["m", "n"])
    assert list(page.rows) == [record.number for record in live]
    for record in live:
        _, _, model, stage, chunks, _, _ = page.rows[record.number]
        assert (model, stages[stage], chunks) == (record.model, record.stage, record.chunks)
    assert len(page.ended) == ended
    in_slots = sum(figures[4] for series in page.slots.values() for figures in series)
    assert in_slots == ended


def test_what_has_not_changed_is_not_told_again():
    view = View()
    records = [RequestRecord(f"r{n}", 0.0, number=n) for n in range(500)]
    view.message(scene(records))
    message = view.message(scene(records, now=1001.0))
    assert message["begun"] == message["changed"] == message["gone"] == message["ended"] == []
    assert len(dumps(message)) < 400


def test_a_message_is_bounded_however_much_is_live():
    records = [RequestRecord(f"r{n}", 0.0, number=n) for n in range(MAX_ROWS + 100)]
    message = View().message(scene(records))
    assert message["total"] == MAX_ROWS + 100
    assert len(message["begun"]) == len(message["changed"]) == MAX_ROWS


def test_many_rows_are_looked_at_in_slices_so_that_streams_can_run():
    steps = sum(
        1 for _ in View().build(scene([RequestRecord(f"r{n}", 0.0, number=n) for n in range(2000)]))
    )
    assert steps >= 9


def test_a_client_that_has_left_a_running_request_drains_it():
    record = RequestRecord("r", 0.0, stage=Stage.STREAMING, left_at=5.0)
    assert View().message(scene([record]))["changed"][0][1] == list(Stage).index(Stage.DRAINING)


def test_a_providers_open_upstreams_states_and_last_error_are_told():
    history = History(labels)
    failed = RequestRecord("r", 0.0, provider="p", model="m", outcome=Outcome.UPSTREAM_ERROR)
    failed.tries = [Try("p", "m", 0.0, ended_at=1.0, error="http_500", error_text="status 500")]
    history.ended(failed, 990.0)
    running = RequestRecord("r", 0.0, tries=[Try("p", "m", 0.0), Try("p", "m", 0.0, ended_at=2.0)])
    state = TargetReport("p", "m", "cooling down", until=110.0, reason="3 failures")
    told = View().message(scene([running], history=history, states=[state]))["providers"]
    states = [["m", "cooling down", 1_010_000, "3 failures"]]
    assert told == [["p", 1, states, [990_000, "m", "http_500", "status 500"]]]


@pytest.mark.parametrize("key", [None, "web"])
def test_times_are_those_of_the_wall(key):
    record = RequestRecord("r", 42.0, key=key, provider="p", model="m")
    begun = View().message(scene([record]))["begun"]
    assert begun == [[record.number, "r", key, "p", "m", 942_000, False]]


def test_nothing_that_was_said_is_in_what_is_told():
    told = View().message(scene([RequestRecord("r", 0.0, progress=SimpleNamespace(events=1))]))
    assert set(told) == {
        *("worker", "workers", "version", "now", "draining", "total", "slots", "ended"),
        *("gone", "begun", "changed", "providers"),
    }


def test_a_refused_configuration_is_told_until_a_later_reload_went_well():
    complaints = tuple(f"router.yaml:{line}: wrong" for line in range(1, 9))
    refused = ReloadReport(Result.REFUSED, Trigger.FILE, 999.0, 1, complaints=complaints)
    told = View().message(replace(scene(), refused=refused))
    assert told["refused"] == [999000, *complaints[:5]]
    assert "refused" not in View().message(scene())
