"""Changes of the file are seen, however it is written."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.runtime.reloading import Reloaded, until
from tests.stack import PROVIDERS, memory_stack
from trio_router.runtime import watch
from trio_router.runtime.reload import Trigger
from trio_router.runtime.watch import folders_of

pytestmark = pytest.mark.slow


@asynccontextmanager
async def watched(path: Path, settings: str = ""):
    async with memory_stack(settings) as stack, trio.open_nursery() as nursery:
        stack.router.in_thread = trio.to_thread.run_sync
        it = Reloaded(stack, path, f"{settings}\n{PROVIDERS}")
        nursery.start_soon(it.reloader.run)
        await trio.sleep(0.3)
        yield it
        nursery.cancel_scope.cancel()
        began = trio.current_time()
    assert trio.current_time() - began < 1  # the thread that waits for events holds nothing up


async def has(it: Reloaded, read: float, within: float = 1.5) -> None:
    await until(lambda: it.router.generation.config.timeouts.read == read, within)


def text(it: Reloaded, read: float) -> str:
    return f"timeouts: {{read: {read}}}\n{PROVIDERS}"


async def test_writing_in_place_and_replacing_are_seen(tmp_path):
    async with watched(tmp_path / "router.yaml") as it:
        it.path.write_text(text(it, 1))
        await has(it, 1)
        for read in (2, 3):
            new = tmp_path / "router.yaml.tmp"
            new.write_text(text(it, read))
            new.replace(it.path)
            await has(it, read)
        it.path.rename(tmp_path / "router.yaml~")  # as editors do
        it.path.write_text(text(it, 4))
        await has(it, 4)
        it.path.write_text(text(it, 5))
        await has(it, 5)
        assert await it.metric('config_reloads_total{result="refused"}') is None


async def test_kubernetes_swaps_are_seen(tmp_path):
    def version(name: str, content: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "router.yaml").write_text(content)
        (tmp_path / "..data_tmp").symlink_to(name)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    version("..1", "")
    (tmp_path / "router.yaml").symlink_to("..data/router.yaml")
    async with watched(tmp_path / "router.yaml") as it:
        for read in (2, 3, 4):
            version(f"..{read}", text(it, read))
            await has(it, read)
            shutil.rmtree(tmp_path / f"..{read - 1}", ignore_errors=True)
        assert it.reloader.refusal is None


async def test_a_link_to_another_folder_is_followed(tmp_path):
    for name in ("a", "b", "links"):
        (tmp_path / name).mkdir()
    (tmp_path / "links" / "current").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "router.yaml").write_text("")
    (tmp_path / "router.yaml").symlink_to("links/current/router.yaml")
    async with watched(tmp_path / "router.yaml") as it:
        (tmp_path / "a" / "router.yaml").write_text(text(it, 1))
        await has(it, 1)
        (tmp_path / "b" / "router.yaml").write_text(text(it, 2))
        (tmp_path / "links" / "new").symlink_to(tmp_path / "b")
        (tmp_path / "links" / "new").replace(tmp_path / "links" / "current")
        await has(it, 2)
        await trio.sleep(0.1)
        (tmp_path / "b" / "router.yaml").write_text(text(it, 3))
        await has(it, 3)


async def test_a_file_that_vanishes_is_a_refusal_and_its_return_is_seen(tmp_path):
    folder = tmp_path / "config"
    folder.mkdir()
    async with watched(folder / "router.yaml") as it:
        it.path.unlink()
        await until(lambda: it.reloader.refusal is not None, 2)
        assert "cannot be read" in it.reloader.refusal.complaints[0]
        await trio.sleep(2.5)  # it is told once, not at every look
        assert await it.metric('config_reloads_total{result="refused"}') == 1
        it.path.write_text(text(it, 1))
        await has(it, 1)
        shutil.rmtree(folder)
        await until(lambda: it.reloader.refusal is not None, 6)
        folder.mkdir()
        it.path.write_text(text(it, 2))
        await has(it, 2, within=6)
        await trio.sleep(0.3)
        it.path.write_text(text(it, 3))
        await has(it, 3, within=3)


async def test_other_files_of_the_folder_and_refused_ones_are_not_read_again_and_again(tmp_path):
    async with watched(tmp_path / "router.yaml") as it:
        last = it.reloader.last
        for number in range(20):
            (tmp_path / f"other{number}").write_text("x")
            await trio.sleep(0.02)
        await trio.sleep(0.3)
        assert it.reloader.last is last
        it.path.write_text("broken: [")
        await until(lambda: it.reloader.refusal is not None, 2)
        for number in range(20):
            (tmp_path / f"other{number}").unlink()
            await trio.sleep(0.02)
        await trio.sleep(2.2)
        assert await it.metric('config_reloads_total{result="refused"}') == 1


async def test_watching_goes_off_and_on_as_the_file_says(tmp_path):
    async with watched(tmp_path / "router.yaml") as it:
        it.path.write_text("server: {reload: false}\n" + text(it, 1))
        await has(it, 1)
        await trio.sleep(0.2)
        it.path.write_text(text(it, 2))
        with pytest.raises(trio.TooSlowError):
            await has(it, 2, within=2.5)
        await it.reloader.reload(Trigger.SIGNAL)
        await has(it, 2)
        await trio.sleep(0.2)
        it.path.write_text(text(it, 3))
        await has(it, 3)


async def test_where_no_watch_is_to_be_had_the_file_is_looked_at_now_and_then(
    tmp_path, monkeypatch, caplog
):
    def none_left(*_, **__):
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr("watchfiles.main.RustNotify", none_left)
    async with watched(tmp_path / "router.yaml") as it:
        it.path.write_text(text(it, 1))
        await has(it, 1, within=2 * watch._POLL + 1)
    told = [r for r in caplog.records if r.getMessage() == "files are looked at now and then only"]
    assert len(told) == 1
    assert "watch limit" in told[0].fields["reason"]


async def test_what_changed_between_the_start_and_the_first_look_is_seen(tmp_path):
    path = tmp_path / "router.yaml"
    async with memory_stack() as stack, trio.open_nursery() as nursery:
        it = Reloaded(stack, path, "")
        path.write_text(text(it, 1))
        nursery.start_soon(it.reloader.run)
        await has(it, 1, within=5)
        nursery.cancel_scope.cancel()


def test_the_folders_of_every_link_are_watched(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "c" / "real").write_text("")
    (tmp_path / "b" / "up").symlink_to("../c")
    (tmp_path / "a" / "file").symlink_to(tmp_path / "b" / "up" / "real")
    found = {Path(path) for path, _, _ in folders_of([tmp_path / "a" / "file"])}
    assert {tmp_path / "a", tmp_path / "b", tmp_path / "c"} <= found


def test_links_in_a_circle_and_folders_that_are_not_there_harm_nothing(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert {path for path, _, _ in folders_of([tmp_path / "loop"])} == {str(tmp_path)}
    assert folders_of([tmp_path / "no" / "where"]) == frozenset()
