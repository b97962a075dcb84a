"""What the configuration says of keys, teams, limits, budgets and the store."""

from __future__ import annotations

import pytest

from trio_router.config.file import ConfigError, parse_config


def key(settings: str) -> str:
    return f"auth: {{keys: [{{name: a, key: k1, {settings}}}]}}\nteams: {{search: {{}}}}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (key("team: serach"), "auth.keys.0.team: there is no team serach; did you mean search?"),
        (key("budgets: [{usd: -5}]"), "auth.keys.0.budgets.0.usd: Input should be greater than 0"),
        (key("budgets: [{usd: 0}]"), "greater than 0"),
        (key("budgets: [{usd: true}]"), "must be a number"),
        (key("budgets: [{usd: .inf}]"), "budgets.0.usd"),
        (key("budgets: [{usd: 1.0000000001}]"), "no more than 9 decimal places"),
        (key("budgets: [{per: day}]"), "auth.keys.0.budgets.0: usd is missing"),
        (key("budgets: [{usd: 5, per: year}]"), "'day', 'week', 'month' or 'total'"),
        (key("budgets: [{usd: 5, mode: hard}]"), "'strict', 'adaptive' or 'soft'"),
        (key("budgets: [{usd: 5, timezone: Europe/Atlantis}]"), "no time zone 'Europe/Atlantis'"),
        (key("budgets: [{usd: 5, timezone: ../../etc}]"), "there is no time zone"),
        (key("budgets: [{usd: 5, pre: day}]"), "unknown key; did you mean per?"),
        (key("limits: {requests_per_minute: 0}"), "greater than or equal to 1"),
        (key("limits: {parallel: 1.5}"), "auth.keys.0.limits.parallel"),
        (key("limits: {request_per_minute: 1}"), "did you mean requests_per_minute?"),
        (key("expires: soon"), "auth.keys.0.expires"),
        (key("expires: 5"), "must be a date or a time"),
        ("store: {url: 'mysql://x'}", "store.url: must be memory:, sqlite:PATH or postgresql://..."),
        ("store: {when_down: ignore}", "'refuse' or 'allow'"),
        ("store: {counters: 'http://x'}", "store.counters: must be a redis:// or valkey:// URL"),
        ("server: {workers: 2}\nstore: {url: 'memory:'}", "store.url: memory: is of one process"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, complaint):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, {})
    assert complaint in str(caught.value)


def test_two_keys_of_one_name_may_do_the_same():
    both = "auth: {{keys: [{{name: a, key: k1}}, {{name: a, key: k2{}}}]}}"
    parse_config(both.format(""), {})
    parse_config(both.format(", expires: 2027-01-01"), {})
    with pytest.raises(ConfigError, match="may do other things"):
        parse_config(both.format(", limits: {parallel: 1}"), {})


@pytest.mark.parametrize(
    ("text", "is_stored"),
    [
        ("auth: {keys: [k1]}", False),
        (key("models: [a], expires: 2027-01-01"), False),
        (key("limits: {parallel: 1}"), True),
        (key('model_limits: {"a/*": {parallel: 1}}'), True),
        ("teams: {t: {budgets: [{usd: 1}]}}", True),
        ("providers: {p: {base_url: http://a, limits: {parallel: 1}}}", True),
        ("providers: {p: {base_url: http://a, models: {m: {budgets: [{usd: 1}]}}}}", True),
        ("store: {}", True),
    ],
)
def test_a_store_is_there_as_soon_as_anything_is_counted(text, is_stored):
    stored = parse_config(text, {}).stored
    assert (stored is not None) is is_stored
    if stored is not None:
        assert stored.url.get_secret_value() == "sqlite:trio-router.db"


def test_a_date_ends_a_key_as_its_day_begins():
    config = parse_config(key("expires: 2027-01-31"), {})
    assert config.auth.keys[0].expires.isoformat() == "2027-01-31T00:00:00+00:00"
