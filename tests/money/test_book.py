"""Where a target's price comes from."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from trio_router.config.file import ConfigError, parse_config
from trio_router.dialects.usage import Usage
from trio_router.money import PriceBook
from trio_router.money.book import _MOST
from trio_router.routing.table import RouteTable

PROVIDERS = """
providers:
  openai:
    base_url: https://api.openai.com/v1
    models: {gpt-4o: {}, mine: {upstream_model: gpt-4o-2024-05-13}}
  anthropic: {dialect: anthropic, base_url: "https://api.anthropic.com/v1"}
  deepseek: {base_url: "https://api.deepseek.com/v1"}
  openrouter: {base_url: "https://openrouter.ai/api/v1"}
  ollama: {dialect: ollama, base_url: "http://10.0.0.7:11434"}
  llama: {base_url: "http://127.0.0.1:8080/v1"}
  proxy: {base_url: "http://127.0.0.1:4000/v1", api_key: sk-1}
  other: {base_url: "https://llm.example/v1"}
"""
AT = datetime(2026, 10, 20, 12, tzinfo=UTC).timestamp()
MILLION = Usage(10**6, 10**6)


def price(name: str, prices: str = "", at: float = AT):
    config = parse_config(f"{prices}\n{PROVIDERS}", {})
    return PriceBook(config).of(RouteTable(config, list).resolve(name), at)


@pytest.mark.parametrize(
    ("name", "usd"),
    [("openai/gpt-4o", 12.5), ("openai/mine", 20), ("anthropic/claude-sonnet-4-5-20250929", 18)],
)
def test_the_package_knows_the_labs_models_by_their_own_names(name, usd):
    found = price(name)
    short = Usage(1000, 1000)  # below every tier
    assert found.cost(short) == usd * 10**6
    assert found.source.startswith("model-prices-")


def test_what_is_written_to_a_cache_has_prices_of_its_own():
    found = price("anthropic/claude-sonnet-4-5")
    assert found.cost(Usage(1000, 0, written=1000)) == 3_750_000
    assert found.cost(Usage(1000, 0, written_1h=1000)) == 6_000_000
    assert found.cost(Usage(1000, 0, cached=1000)) == 300_000
    assert found.cost(Usage(1000, 0, searches=1)) == 3_000_000 + 10_000_000


def test_a_price_that_depends_on_the_hour_is_looked_up_again():
    config = parse_config(PROVIDERS, {})
    book = PriceBook(config)
    target = RouteTable(config, list).resolve("deepseek/deepseek-chat")
    day = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
    costs = {book.of(target, day + hour * 3600).cost(MILLION) for hour in range(24)}
    assert len(costs) == 2


def test_the_configurations_price_wins():
    told = price("openai/gpt-4o", 'prices: {openai/gpt-4o: {input: 1, output: 2, cached_input: "0.5"}}')
    assert told.cost(MILLION) == 3 * 10**9
    assert told.cost(Usage(10**6, 0, cached=10**6)) == 5 * 10**8
    assert told.source == "prices.openai/gpt-4o"


def test_a_star_is_every_other_model_of_a_provider():
    prices = "prices: {other/*: {input: 1, output: 1}, other/big: {input: 5, output: 5}}"
    assert price("other/x", prices).cost(MILLION) == 2 * 10**9
    assert price("other/big", prices).cost(MILLION) == 10 * 10**9


@pytest.mark.parametrize(("name", "is_free"), [
    ("ollama/llama3.2", True), ("llama/any", True), ("proxy/any", False), ("other/any", False),
    ("openai/gpt-4o", False)])  # fmt: skip
def test_only_the_users_own_machines_cost_nothing(name, is_free):
    found = price(name)
    assert (found is not None and found.cost(MILLION) == 0) is is_free


def test_who_tells_its_cost_is_believed():
    assert price("openrouter/any").cost(Usage(1, 1, told_cost=9)) == 9


@pytest.mark.parametrize("name", ["anthropic/gpt-4o", "deepseek/deepseek-chat-max", "deepseek/none"])
def test_another_labs_price_and_a_relative_of_the_model_are_no_price(name):
    assert price(name) is None


def test_an_unknown_price_is_said_once_a_model_and_not_again_after_a_reload(caplog):
    config = parse_config(PROVIDERS, {})
    book = PriceBook(config)
    table = RouteTable(config, list)
    with caplog.at_level(logging.INFO, logger="trio_router"):
        for name in ("other/a", "other/a", "other/b"):
            assert book.of(table.resolve(name), AT) is None
        PriceBook(config, book).of(table.resolve("other/a"), AT)
    assert [r.fields["target"] for r in caplog.records] == ["other/a", "other/b"]


def test_names_that_clients_make_up_take_no_memory_without_end():
    config = parse_config(PROVIDERS, {})
    book, table = PriceBook(config), RouteTable(config, list)
    for number in range(2 * _MOST + 5):
        book.of(table.resolve(f"other/m{number}"), AT)
    assert len(book._kept) <= _MOST
    assert len(book._missed) <= _MOST


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("openai/gpt-4o: {input: -1, output: 1}", "prices.openai/gpt-4o.input"),
        ("openai/gpt-4o: {input: .nan, output: 1}", "prices.openai/gpt-4o.input"),
        ("openai/gpt-4o: {input: .inf, output: 1}", "prices.openai/gpt-4o.input"),
        ("openai/gpt-4o: {input: true, output: 1}", "must be a number of dollars"),
        ("openai/gpt-4o: {input: cheap, output: 1}", "prices.openai/gpt-4o.input"),
        ("openai/gpt-4o: {input: 10000000, output: 1}", "prices.openai/gpt-4o.input"),
        ("openai/gpt-4o: {input: 0.00000000001, output: 1}", "prices.openai/gpt-4o.input"),
        ("openai/gpt-4o: {input: 1}", "output is missing"),
        ("openai/gpt-4o: {input: 1, output: 1, cached: 1}", "did you mean cached_input?"),
        ("openai/gpt-4p: {input: 1, output: 1}", "did you mean openai/gpt-4o?"),
        ("opnai/*: {input: 1, output: 1}", "did you mean openai/*?"),
        ("openai: {input: 1, output: 1}", "there is no model openai"),
        ("openai/gpt-4o: 3", "prices.openai/gpt-4o"),
        ("r: {input: 1, output: 1}", "is a route"),
    ],
)
def test_nonsense_is_told_with_its_place(line, complaint):
    text = f"prices:\n  {line}\n{PROVIDERS}\nroutes: {{r: {{targets: [{{model: openai/gpt-4o}}]}}}}"
    with pytest.raises(ConfigError) as fault:
        parse_config(text, {}, "file")
    assert any(c.startswith("file:2:") and complaint in c for c in fault.value.complaints)
