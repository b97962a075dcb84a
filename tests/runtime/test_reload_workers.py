"""Workers have the same configuration under the same number, also those that start later."""

from __future__ import annotations

import logging
import stat
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
import trio
import trio.testing
import trustme

from tests.runtime.reloading import until
from trio_router.config.file import parse_config
from trio_router.runtime.accepted import AcceptedFile
from trio_router.runtime.certificates import marks_of
from trio_router.runtime.peers import Peers
from trio_router.runtime.reload import Reloader, Result, Trigger
from trio_router.runtime.router import Router
from trio_router.runtime.source import Source

pytestmark = pytest.mark.slow  # real sockets

START = "timeouts: {read: 1}"


class Worker:
    def __init__(
        self, folder, number: int, count: int, path, text: str, generation: int = 1, certificate=None
    ) -> None:
        self.peers = Peers(folder, number, count)
        self.router = Router(parse_config(text, {}), number=generation)
        started = parse_config(START, {})
        source = Source(path, text, {}, certificate=certificate)
        self.reloader = Reloader(self.router, source, self.peers, started)

    @property
    def has(self) -> tuple[int, float]:
        generation = self.router.generation
        return generation.number, generation.config.timeouts.read

    def count(self, result: Result) -> float:
        return self.router.metrics.reloads.labels(result.value)._value.get()

    @asynccontextmanager
    async def running(self):
        async with self.router.running(), trio.open_nursery() as nursery:
            await nursery.start(self.peers.serve)
            nursery.start_soon(self.reloader.run)
            yield self
            nursery.cancel_scope.cancel()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "shared"
    made.mkdir(0o700)
    return made


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "config" / "router.yaml"
    found.parent.mkdir()
    found.write_text(START)
    return found


@asynccontextmanager
async def workers(folder, path, count: int = 3):
    made = [Worker(folder, number, count, path, START) for number in range(count)]
    async with made[0].running(), made[1].running():
        if count == 2:
            yield made
        else:
            async with made[2].running():
                yield made


@pytest.mark.parametrize("asked", [0, 1, 2])
async def test_whichever_is_asked_all_have_the_same_when_it_answers(asked, folder, path):
    async with workers(folder, path) as all_of_them:
        for read in (2, 3):
            path.write_text(f"timeouts: {{read: {read}}}")
            report = await all_of_them[asked].reloader.reload(Trigger.ADMIN)
            assert report.result is Result.LOADED
            assert report.complaints == ()
            assert {worker.has for worker in all_of_them} == {(read, read)}
            assert {worker.reloader.last for worker in all_of_them} == {report}
        assert [w.count(Result.LOADED) for w in all_of_them] == [2.0 * (n == asked) for n in range(3)]


async def test_they_are_told_the_very_text_that_the_first_has_read(folder, path):
    async with workers(folder, path) as (first, second, third):
        path.write_text("timeouts: {read: 2}")
        take, asked = first.reloader._take, []

        async def take_and_break_the_file(text, config, number):
            asked.append(second.has)
            await take(text, config, number)
            path.write_text("broken: [")

        first.reloader._take = take_and_break_the_file
        assert (await first.reloader.reload(Trigger.SIGNAL)).result is Result.LOADED
        assert asked == [(1, 1)]  # the first one had taken it before the others were asked
        assert second.has == third.has == (2, 2)


async def test_a_refusal_stops_with_the_first_is_counted_once_and_told_by_all(folder, path):
    async with workers(folder, path) as all_of_them:
        path.write_text("broken: [")
        report = await all_of_them[0].reloader.reload(Trigger.SIGNAL)
        assert report.result is Result.REFUSED
        assert {worker.has for worker in all_of_them} == {(1, 1)}
        assert [worker.count(Result.REFUSED) for worker in all_of_them] == [1, 0, 0]
        assert {worker.reloader.refusal for worker in all_of_them} == {report}


async def test_all_at_once_come_to_the_same(folder, path):
    async with workers(folder, path) as all_of_them:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for turn in range(8):
                    path.write_text(f"timeouts: {{read: {turn + 10}}}")
                    for worker in all_of_them:
                        nursery.start_soon(worker.reloader.reload, Trigger.ADMIN)
                    await trio.sleep(0.01)
        assert len({worker.has for worker in all_of_them}) == 1
        assert all_of_them[0].has[1] == 17


async def test_a_worker_that_starts_later_has_what_was_accepted_last(folder, path):
    async with workers(folder, path, 2) as (first, second):
        path.write_text("timeouts: {read: 2}")
        await first.reloader.reload(Trigger.SIGNAL)
        path.write_text("broken: [")
        await second.reloader.reload(Trigger.SIGNAL)
        accepted = AcceptedFile(folder).read()
        assert (accepted.number, accepted.text) == (2, "timeouts: {read: 2}")
        assert {stat.S_IMODE(p.stat().st_mode) for p in folder.glob("accepted.*")} == {0o600}
        late = Worker(folder, 1, 2, path, accepted.text, accepted.number)
        async with late.running():
            await trio.sleep(0.2)
            assert late.has == (2, 2)
            assert late.reloader.refusal is not None
            path.write_text("server: {port: 1}")
            report = await late.reloader.reload(Trigger.ADMIN)
            assert report.generation == 3
            assert report.needs_restart == ("server.port",)
            assert first.has == late.has == (3, 30)


async def test_what_is_accepted_while_a_worker_starts_is_not_missed(folder, path):
    async with workers(folder, path, 2) as (first, _):
        slow = Worker(folder, 1, 2, path, START)  # it has read what there was; then it is slow
        path.write_text("timeouts: {read: 2}")
        await first.reloader.reload(Trigger.SIGNAL)
        async with slow.running():
            await until(lambda: slow.has == (2, 2), 5)


async def test_what_is_older_is_not_taken(folder, path):
    async with workers(folder, path, 2) as (first, second):
        path.write_text("timeouts: {read: 2}")
        await first.reloader.reload(Trigger.SIGNAL)
        old = replace(AcceptedFile(folder).read(), text="timeouts: {read: 9}")
        for number in (1, 2):
            await second.reloader._follow(replace(old, number=number))
            assert second.has == (2, 2)
        await second.reloader._follow(replace(old, number=3))
        assert second.has == (3, 9)


async def test_a_worker_that_is_away_holds_nothing_up(folder, path):
    worker = Worker(folder, 0, 3, path, START)
    async with worker.running():
        path.write_text("timeouts: {read: 2}")
        with trio.fail_after(5):
            assert (await worker.reloader.reload(Trigger.SIGNAL)).result is Result.LOADED


async def test_a_worker_that_cannot_take_it_is_told_of_and_gets_it_with_the_next_reload(
    folder, path, caplog
):
    async with workers(folder, path, 2) as (first, second):
        caplog.set_level(logging.INFO)
        use = second.router.use

        async def fail(*_):
            raise OSError("no descriptors")

        second.router.use = fail
        path.write_text("timeouts: {read: 2}")
        report = await first.reloader.reload(Trigger.SIGNAL)
        assert report.result is Result.LOADED
        assert any("a worker did not answer" in r.getMessage() for r in caplog.records)
        assert second.has == (1, 1)
        second.router.use = use
        assert (await first.reloader.reload(Trigger.SIGNAL)).result is Result.UNCHANGED
        assert first.has == second.has == (2, 2)


async def test_a_worker_that_missed_one_takes_it_before_it_reads_another(folder, path):
    async with workers(folder, path, 2) as (first, second):
        path.write_text("timeouts: {read: 2}")
        second.peers._answers["reload"] = None  # it answers nothing
        await first.reloader.reload(Trigger.SIGNAL)
        path.write_text("timeouts: {read: 3}")
        report = await second.reloader.reload(Trigger.ADMIN)
        assert report.generation == 3
        assert first.has == second.has == (3, 3)


async def test_the_turn_of_a_process_that_died_is_free(folder):
    file = AcceptedFile(folder)
    order = []

    async def take(name: str, seconds: float) -> None:
        async with AcceptedFile(folder).turn():
            order.append(f"{name} in")
            await trio.sleep(seconds)
            order.append(f"{name} out")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, "a", 0.1)
        await trio.sleep(0.02)
        nursery.start_soon(take, "b", 0)
    assert order == ["a in", "a out", "b in", "b out"]
    with trio.move_on_after(0.05):
        await take("c", 9)
    with trio.fail_after(1):
        async with file.turn():
            pass


def issue_certificate(pem) -> None:
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)


async def test_a_certificate_that_was_renewed_while_workers_started_is_taken_by_all(
    folder, path, tmp_path
):
    """The first worker starts last, with the new one; the other has the old one."""
    pem = tmp_path / "cert.pem"
    issue_certificate(pem)
    text = f"server: {{certfile: {pem}}}"
    path.write_text(text)
    known = marks_of([pem])
    late, early = (partial(Worker, folder, number, 2, path, text) for number in (0, 1))
    early = early(certificate=known)
    issue_certificate(pem)
    async with early.running(), late(certificate=known).running() as first:
        await until(lambda: first.router.generation.number == early.router.generation.number == 2, 20)
        assert first.router.generation.certificate == early.router.generation.certificate
        assert "~ certificate: renewed" in first.reloader.last.changes


async def test_a_certificate_that_was_renewed_while_the_first_worker_was_away_is_taken_by_all(
    folder, path, tmp_path
):
    pem = tmp_path / "cert.pem"
    issue_certificate(pem)
    text = f"server: {{certfile: {pem}}}"
    path.write_text(text)
    known = marks_of([pem])
    other = Worker(folder, 1, 2, path, text, certificate=known)
    async with other.running():
        async with Worker(folder, 0, 2, path, text, certificate=known).running() as first:
            path.write_text(text + "\ntimeouts: {read: 2}")
            await until(lambda: other.has == (2, 2), 20)
            await until(lambda: first.has == (2, 2), 20)
        issue_certificate(pem)
        kept = AcceptedFile(folder).read()
        again = Worker(folder, 0, 2, path, kept.text, kept.number, kept.certificate)
        async with again.running():
            await until(lambda: other.has == again.has == (3, 2), 20)
            assert other.router.generation.certificate == again.router.generation.certificate
