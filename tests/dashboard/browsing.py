"""Debian's chromium, driven by Playwright; whoever imports this is skipped where it is not."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from functools import partial

import pytest
import trio

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
PHONE = {"width": 390, "height": 844}


class Page:
    """A page, and what went wrong with it."""

    def __init__(self, page) -> None:
        self.page = page
        self.faults: list[str] = []
        self.asked: list[str] = []
        page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        page.on("console", self._note)
        page.on("request", lambda request: self.asked.append(request.url))

    def _note(self, message) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def open(self, url: str) -> None:
        self.page.goto(f"{url}/dashboard")
        self.wait("#status[data-state=live]")

    def wait(self, selector: str, state: str = "visible") -> None:
        self.page.wait_for_selector(selector, state=state, timeout=15_000)

    def rows(self) -> list[str]:
        return self.page.locator("#live-body tr:not([aria-hidden]):not([hidden])").all_inner_texts()

    def wait_rows(self, count: int) -> None:
        playwright.expect(
            self.page.locator("#live-body tr:not([aria-hidden]):not([hidden])")
        ).to_have_count(count, timeout=15_000)

    def wait_stage(self, stage: str) -> None:
        playwright.expect(self.page.locator("#live-body .stage").first).to_have_text(
            stage, timeout=15_000
        )


@contextmanager
def browser(**options):
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        options.setdefault("viewport", {"width": 1300, "height": 1000})
        try:
            yield Page(running.new_context(**options).new_page())
        finally:
            running.close()


async def in_thread(function, *words) -> None:
    with trio.fail_after(90):
        await trio.to_thread.run_sync(partial(function, *words), abandon_on_cancel=True)
