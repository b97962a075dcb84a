"""The page of keys and spend in a real browser."""

from __future__ import annotations

import pytest
import trio

from tests.api.administering import ADMIN, NANO, SETTINGS, Book, attempt
from tests.dashboard.browsing import CHROMIUM, PHONE, browser, in_thread, playwright
from tests.stack import real_stack
from trio_router.ledger.accounts import Key, Limits, MoneyBudget, Team, hash_of
from trio_router.ledger.queries import AuditEntry
from trio_router.ledger.table import ceilings_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


async def filled(stack) -> None:
    """A team, two keys with ceilings, and 30 days of requests."""
    store, now = stack.router.counting.keeper.store, stack.router.clock.wall()
    entry = AuditEntry(now, "anna", "key.create", "ada")
    budget = MoneyBudget(20 * NANO, "total", "strict")
    team = Team(id="search", name="Search", budgets=(MoneyBudget(500 * NANO),))
    limits = Limits(requests_per_minute=600, parallel=8)
    ada = Key(id="ada", hash=hash_of("a"), name="Ada's laptop", team="search", created_at=now)
    ada = Key(**{name: getattr(ada, name) for name in ("id", "hash", "name", "team", "created_at")},
              limits=limits, budgets=(budget,), expires_at=now + 86400 * 90)  # fmt: skip
    await store.put_team(team, entry)
    await store.add_key(ada, entry)
    await store.add_key(Key(id="ci", hash=hash_of("c"), name="CI", created_at=now), entry)
    counter = next(c.counter for c in ceilings_of("key", "ada", ada, now) if c.kind == "budget")
    book = Book(store, now)
    for number in range(60):
        cost = (1 + number % 7) * NANO // 10
        two = (
            attempt("deepseek", "chat", None, 12),
            attempt("ollama" if number % 3 else "deepseek", "chat", cost, 1200 * (number % 5)),
        )
        await book.write(
            f"row-{number}",
            days=number / 2,
            key="ada" if number % 3 else "ci",
            team="search" if number % 3 else "",
            attempts=two,
            charges={counter: cost} if number % 3 else {},
            status=200,
            outcome="completed",
            ended_at=now - number / 2 * 86400 + 1.5,
        )


def enter(page, url: str) -> None:
    page.page.goto(f"{url}/dashboard")
    page.page.fill("#key", ADMIN)
    page.page.keyboard.press("Enter")
    page.wait("#status[data-state=live]")
    page.page.click("nav a:not([aria-current])")
    page.wait("#status[data-state=live]")
    page.wait("#keys-body tr")


async def test_it_shows_spend_keys_teams_requests_and_acts_and_asks_nobody_else():
    async with real_stack(SETTINGS) as stack:
        await filled(stack)

        def drive() -> None:
            with browser() as page:
                enter(page, stack.url)
                text = page.page.inner_text("main")
                assert "Ada's laptop" in text
                assert "Search" in text
                assert "of the file" in text
                keys = page.page.inner_text("#keys-body tr[data-key=ada]")
                assert "of $20.00" in keys
                assert "0 of 600" in keys
                assert page.page.locator("#spend-body tr").count() == 2
                page.page.click("#spend-by button:nth-child(4)")
                page.wait("#spend-body >> text=ollama")
                page.page.click("#requests-body .outcome >> nth=1")
                details = page.page.inner_text("#requests-body .opened:not([hidden])")
                assert "deepseek/chat completed" in details
                assert "no known cost" in details
                assert "by prices.x" in details
                page.page.fill("#requests-key", "ci")
                playwright.expect(page.page.locator("#requests-body .outcome")).to_have_count(20)
                assert page.faults == []
                assert {url.split("/dashboard")[0] for url in page.asked} == {stack.url}

        await in_thread(drive)


async def test_a_key_is_made_shown_once_rotated_and_revoked():
    async with real_stack(SETTINGS) as stack:
        await filled(stack)
        store = stack.router.counting.keeper.store

        def key(name: str) -> Key:
            return trio.from_thread.run(store.key, name)

        def drive() -> None:
            with browser() as page:
                enter(page, stack.url)
                page.page.click("#keys-new")
                page.page.fill("#new-name", "Bob")
                page.page.select_option("#new-team", "search")
                page.page.fill("#new-usd", "many")
                page.page.keyboard.press("Enter")
                page.wait("#new-say >> text=budgets[0].usd")
                page.faults.clear()  # the browser calls a 400 an error
                page.page.fill("#new-usd", "25")
                page.page.fill("#new-parallel", "3")
                page.page.fill("#new-days", "30")
                page.page.keyboard.press("Enter")
                page.wait("#secret[open]")
                secret = page.page.inner_text("#secret-key")
                page.page.click("#secret .primary")
                page.wait("#secret", "hidden")
                page.wait("#keys-body >> text=Bob")
                assert secret not in page.page.content()
                name = page.page.locator("#keys-body tr", has_text="Bob").get_attribute("data-key")
                made = key(name)
                assert made.hash == hash_of(secret)
                assert (made.team, made.limits.parallel) == ("search", 3)
                assert made.budgets == (MoneyBudget(25 * NANO),)
                assert made.expires_at == pytest.approx(made.created_at + 30 * 86400)
                page.page.click(f"[aria-label='Rotate {name}']")
                page.page.click("#sure-do")
                page.wait("#secret[open]")
                assert key(name).hash == hash_of(page.page.inner_text("#secret-key")) != made.hash
                page.page.keyboard.press("Escape")
                page.page.click(f"[aria-label='Revoke {name}']")
                page.page.keyboard.press("Escape")
                assert key(name).revoked_at is None  # nothing happens without the confirmation
                page.page.click(f"[aria-label='Revoke {name}']")
                page.page.click("#sure-do")
                page.wait(f"tr[data-key='{name}'] >> text=revoked")
                assert key(name).revoked_at is not None
                assert "key.revoke" in page.page.inner_text("#audit-body")
                assert page.faults == []

        await in_thread(drive)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_is_wider_than_a_phone(scheme):
    async with real_stack(SETTINGS) as stack:
        await filled(stack)

        def drive() -> None:
            with browser(viewport=PHONE, color_scheme=scheme) as page:
                enter(page, stack.url)
                assert page.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
                page.page.click("#keys-new")
                box = page.page.locator("#new").bounding_box()
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= PHONE["width"]
                assert page.faults == []

        await in_thread(drive)


async def test_a_page_that_nobody_sees_asks_for_nothing():
    async with real_stack(SETTINGS) as stack:

        def drive() -> None:
            with browser() as page:
                enter(page, stack.url)
                page.page.clock.install()
                page.page.reload()
                page.wait("#keys-body tr")
                page.page.evaluate(
                    "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
                    "document.dispatchEvent(new Event('visibilitychange'))"
                )
                before = len(page.asked)
                page.page.clock.run_for(60_000)
                assert len(page.asked) == before
                page.page.evaluate(
                    "Object.defineProperty(document, 'hidden', {value: false, configurable: true});"
                    "document.dispatchEvent(new Event('visibilitychange'))"
                )
                page.page.clock.run_for(1000)
                assert len(page.asked) > before

        await in_thread(drive)
