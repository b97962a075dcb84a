"""Reading the file again: what is taken, what is refused, and what is told of it."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from tests.runtime.reloading import reloaded
from tests.stack import PROVIDERS, config
from trio_router.runtime.reload import Reloader, ReloadReport, Result, Trigger
from trio_router.runtime.router import Router

KEYS = "auth: {keys: [{name: web, key: secret-web-1}, {name: app, key: secret-app-1}]}"


def lines(caplog) -> list[tuple[str, str, dict]]:
    return [
        (r.levelname, r.getMessage(), getattr(r, "fields", {}))
        for r in caplog.records
        if r.name == "trio_router"
    ]


async def test_a_good_file_is_taken_and_told_in_words(tmp_path, autojump_clock, caplog):
    caplog.set_level(logging.INFO)
    async with reloaded(tmp_path, KEYS) as it:
        more = PROVIDERS + "  groq: {base_url: 'http://upstream/v1', api_key: secret-groq}\n"
        report = await it.use("auth: {keys: [{name: app, key: secret-app-2}]}", more)
        assert report.result is Result.LOADED
        assert report.changes == ("- key web", "~ key app", "+ provider groq")
        assert report.generation == it.router.generation.number == 2
        assert await it.ask("groq/echo", key="secret-app-2") == 200
        assert await it.ask(key="secret-web-1") == await it.ask(key="secret-app-1") == 401
        assert await it.metric("config_generation") == 2
        assert await it.metric("config_loaded_timestamp_seconds") > 1e9
        assert await it.metric('config_reloads_total{result="loaded"}') == 1
    told = [fields["change"] for _, event, fields in lines(caplog) if event == "configuration changed"]
    assert told == list(report.changes)
    assert "secret" not in caplog.text + repr(report)


@pytest.mark.parametrize("trigger", list(Trigger))
async def test_the_same_file_changes_nothing(trigger, tmp_path, autojump_clock):
    async with reloaded(tmp_path, KEYS) as it:
        before = it.router.generation
        report = await it.use(f"# a comment\n{KEYS}", trigger=trigger)
        assert report.result is Result.UNCHANGED
        assert it.router.generation is before
        assert await it.metric('config_reloads_total{result="unchanged"}') == 1


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("providers: [", 1),
        ("servr: {}\nproviders: {a: {base_url: nope}}", 2),
        ("", 1),
        (" \n\n", 1),
        ("- a", 1),
        ("providers: {a: {base_url: 'http://a', api_key: '${NOT_SET}'}}", 1),
        ("server: {host: 0.0.0.0}", 1),
        ("server: {certfile: /nowhere/at/all}", 1),
        ("routes: {r: {targets: [{model: nobody/x}]}}", 1),
    ],
)
async def test_a_wrong_file_changes_nothing_and_every_complaint_is_told(
    text, complaints, tmp_path, autojump_clock, caplog
):
    async with reloaded(tmp_path, KEYS) as it:
        before = it.router.generation
        it.path.write_text(text)
        report = await it.reloader.reload(Trigger.SIGNAL)
        assert report.result is Result.REFUSED
        assert report.generation == 1
        assert it.router.generation is before
        assert await it.ask(key="secret-web-1") == 200
        assert (await it.stack.client.get("/readyz")).status_code == 200
        assert await it.metric('config_reloads_total{result="refused"}') == 1
        assert it.reloader.refusal is report
        told = [f["complaint"] for _, event, f in lines(caplog) if event == "configuration is wrong"]
        assert told == list(report.complaints)
        assert len(told) == complaints
        assert all(str(it.path) in complaint or "certfile" in complaint for complaint in told)
        assert (await it.use("")).result is Result.LOADED
        assert it.reloader.refusal is None


async def test_a_certificate_that_cannot_be_used_is_refused(tmp_path, autojump_clock):
    (tmp_path / "cert.pem").write_text("no certificate")
    async with reloaded(tmp_path, KEYS) as it:
        report = await it.use(f"{KEYS}\nserver: {{certfile: {tmp_path}/cert.pem}}")
        assert report.result is Result.REFUSED
        assert "server.certfile" in report.complaints[0]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", "a folder"])
async def test_a_file_that_cannot_be_read_is_refused_and_read_again_later(
    content, tmp_path, autojump_clock
):
    async with reloaded(tmp_path) as it:
        it.path.unlink()
        if content == "a folder":
            it.path.mkdir()
        elif content is not None:
            it.path.write_bytes(content)
        for trigger in Trigger:
            report = await it.reloader.reload(trigger)
            assert report.result is Result.REFUSED
            assert "cannot be read" in report.complaints[0]
        if content == "a folder":
            it.path.rmdir()
        assert (await it.use("timeouts: {read: 5}")).result is Result.LOADED


@pytest.mark.parametrize("half", ["", "providers: [", "server: {bogus: 1}"])
@pytest.mark.parametrize("pause", [0.02, 0.2])
async def test_a_half_written_file_is_waited_for(half, pause, tmp_path, autojump_clock):
    async with reloaded(tmp_path) as it, trio.open_nursery() as nursery:
        it.path.write_text(half)

        @nursery.start_soon
        async def go_on_writing():
            await trio.sleep(pause)
            it.write("timeouts: {read: 5}")

        report = await it.reloader.reload(Trigger.FILE)
        assert report.result is Result.LOADED
        assert report.changes == ("~ timeouts: read",)
        assert await it.metric('config_reloads_total{result="refused"}') is None


async def test_a_file_that_goes_on_growing_is_not_taken_before_it_rests(tmp_path, autojump_clock):
    """Every part of it would be a good file: one without the keys that follow."""
    async with reloaded(tmp_path, KEYS) as it, trio.open_nursery() as nursery:
        it.path.write_text(PROVIDERS)

        @nursery.start_soon
        async def go_on_writing():
            for read in range(20, 0, -1):
                await trio.sleep(0.04)
                it.path.write_text(f"{PROVIDERS}\ntimeouts: {{read: {read}}}")
            it.write(f"{KEYS}\ntimeouts: {{read: 1}}")

        report = await it.reloader.reload(Trigger.FILE)
        assert report.changes == ("~ timeouts: read",)


async def test_a_file_that_never_rests_is_read_all_the_same(tmp_path, autojump_clock):
    async with reloaded(tmp_path) as it, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def go_on_writing():
            for read in range(1, 10000):
                it.write(f"timeouts: {{read: {read}}}")
                await trio.sleep(0.03)

        with trio.fail_after(5):
            assert (await it.reloader.reload(Trigger.FILE)).result is Result.LOADED
        nursery.cancel_scope.cancel()


async def test_what_has_to_wait_for_a_restart_is_said_each_time_and_the_rest_applies(
    tmp_path, autojump_clock, caplog
):
    async with reloaded(tmp_path) as it:
        report = await it.use("server: {port: 1, workers: 4, max_body: 100}\ntimeouts: {read: 5}")
        assert report.needs_restart == ("server.port", "server.workers")
        assert it.router.generation.config.server.max_body == 100
        told = [f["setting"] for level, event, f in lines(caplog) if event == "needs a restart"]
        assert told == ["server.port", "server.workers"]
        assert (await it.use("server: {port: 1}")).needs_restart == ("server.port",)
        assert (await it.reloader.reload(Trigger.SIGNAL)).needs_restart == ("server.port",)
        assert (await it.use("")).needs_restart == ()


async def test_keys_cannot_go_while_other_machines_reach_the_router(tmp_path, autojump_clock):
    """The address it listens on is the one it was started with, whatever the file says now."""
    async with reloaded(tmp_path, f"{KEYS}\nserver: {{host: 0.0.0.0}}") as it:
        report = await it.use("server: {host: 127.0.0.1}")
        assert report.result is Result.REFUSED
        assert "0.0.0.0" in report.complaints[0]
        assert (await it.use(f"{KEYS}\nserver: {{host: 127.0.0.1}}")).needs_restart == ("server.host",)


async def test_without_a_file_there_is_nothing_to_read(autojump_clock):
    report = await Reloader(Router(config())).reload(Trigger.ADMIN)
    assert report.result is Result.REFUSED
    assert "without a configuration file" in report.complaints[0]


async def test_reloads_come_one_after_the_other(tmp_path, autojump_clock):
    async with reloaded(tmp_path) as it, trio.open_nursery() as nursery:
        found = []

        async def reload(read):
            it.write(f"timeouts: {{read: {read}}}")
            found.append((await it.reloader.reload(Trigger.SIGNAL)).generation)

        for read in range(1, 21):
            nursery.start_soon(reload, read)
        await trio.testing.wait_all_tasks_blocked()
    assert found == sorted(found)
    assert found[-1] == it.router.generation.number


async def test_who_waits_for_a_reload_may_leave_and_it_is_done(tmp_path, autojump_clock):
    async with reloaded(tmp_path) as it:
        it.write("timeouts: {read: 5}")
        with trio.CancelScope() as scope:
            scope.cancel()
            await it.reloader.reload(Trigger.ADMIN)
        assert it.router.generation.number == 1  # it had not begun
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.reloader.reload, Trigger.FILE)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert it.router.generation.number == 2
        assert it.reloader.last.result is Result.LOADED


async def test_a_fault_of_our_own_is_a_refusal(tmp_path, autojump_clock, monkeypatch, caplog):
    async with reloaded(tmp_path) as it:

        async def fail(*_):
            raise ValueError("bug")

        monkeypatch.setattr(it.router, "use", fail)
        report = await it.use("timeouts: {read: 5}")
        assert report.result is Result.REFUSED
        assert "ValueError" in caplog.text
        assert "bug" not in report.complaints[0]


async def test_a_report_comes_through_a_message(tmp_path, autojump_clock):
    async with reloaded(tmp_path) as it:
        for settings in ("timeouts: {read: 5}\nserver: {port: 9}", "bad: 1"):
            report = await it.use(settings)
            assert ReloadReport.of_message(report.as_message()) == report
