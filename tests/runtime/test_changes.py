"""What changed between two configurations is told in words, in order, and without a secret."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from trio_router.config.file import parse_config
from trio_router.runtime.changes import NEED_RESTART, changes, needs_restart


def config(text: str):
    return parse_config(text, {})


def told(before: str, after: str) -> list[str]:
    return changes(config(before), config(after))


P = "{base_url: 'http://a/v1', api_key: sk-secret-1}"


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("", "", []),
        ("", f"providers: {{groq: {P}}}", ["+ provider groq"]),
        (f"providers: {{groq: {P}}}", "", ["- provider groq"]),
        (
            f"providers: {{groq: {P}}}",
            "providers: {groq: {base_url: 'http://b/v1', api_key: sk-secret-2}}",
            ["~ provider groq: base_url, api_key"],
        ),
        (
            f"providers: {{a: {P}, b: {P}, c: {P}}}",
            f"providers: {{new: {P}, c: {P}, a: {{base_url: 'http://b/v1', api_key: sk-secret-1}}}}",
            ["~ provider a: base_url", "- provider b", "+ provider new"],
        ),
        (f"providers: {{a: {P}, b: {P}}}", f"providers: {{b: {P}, a: {P}}}", []),
        (
            f"providers: {{a: {P}}}\nroutes: {{fast: {{targets: [{{model: a/x}}]}}}}",
            f"providers: {{a: {P}}}\nroutes: {{fast: {{targets: [{{model: a/y}}], commit: complete}}}}",
            ["~ route fast: targets, commit"],
        ),
        ("", "timeouts: {read: 5, stall: 1}", ["~ timeouts: read, stall"]),
        ("", "server: {max_streams: 5}\nlog: {level: debug}\nstream: {buffer: 3}",
         ["~ server: max_streams", "~ log: level", "~ stream: buffer"]),
        ("auth: {keys: [{name: web, key: s1}]}", "auth: {keys: [{name: web, key: s2}]}", ["~ key web"]),
        ("auth: {keys: [{name: web, key: s1}]}", "auth: {}", ["- key web"]),
        (
            "auth: {keys: [{name: web, key: s1}, {name: app, key: s2}]}",
            "auth: {keys: [{name: new, key: s3}, {name: app, key: s4}]}",
            ["- key web", "~ key app", "+ key new"],
        ),
        ("auth: {keys: [s1, s2, s3]}", "auth: {keys: [s2, s3]}", ["- key number 1"]),
        ("auth: {keys: [s1, s2]}", "auth: {keys: [s1, s2, s3]}", ["+ key number 3"]),
        ("auth: {keys: [s1]}", "auth: {keys: [{name: web, key: s1}]}", ["- key number 1", "+ key web"]),
        ("auth: {keys: [{name: a, key: s1}, {name: a, key: s2}]}", "auth: {keys: [{name: a, key: s1}]}",
         ["- key a"]),
        ("auth: {keys: [{name: a, key: s1}, {name: a, key: s2}]}",
         "auth: {keys: [{name: a, key: s1}, {name: a, key: s3}]}", ["~ key a"]),
        ("auth: {keys: [s1, s2]}", "auth: {keys: [s2, s1]}", ["~ keys: order"]),
        ("", "auth: {admin_keys: [{name: anna, key: secret-admin-key-1}]}", ["+ admin key anna"]),
    ],
)  # fmt: skip
def test_each_change_is_a_line(before, after, lines):
    assert told(before, after) == lines


SECRETS = st.sampled_from(["s1-secret", "s2-secret", "s3-secret"])
NAMES = st.sampled_from(["", "a", "b"])
KEYS = st.lists(st.tuples(NAMES, SECRETS), max_size=4)
PROVIDERS = st.dictionaries(st.sampled_from(["p", "q"]), SECRETS)


@given(KEYS, PROVIDERS, KEYS, PROVIDERS)
def test_what_differs_has_a_line_and_what_is_equal_has_none_and_no_line_has_a_secret(k1, p1, k2, p2):
    def made(keys, providers):
        return parse_config("", {}).model_validate(
            {
                "auth": {"keys": [{"name": name, "key": key} for name, key in keys]},
                "providers": {
                    name: {"base_url": "http://a", "api_key": key, "headers": {"x": key}}
                    for name, key in providers.items()
                },
            }
        )

    before, after = made(k1, p1), made(k2, p2)
    lines = changes(before, after)
    assert bool(lines) == (before != after)
    assert "secret" not in "\n".join(lines)
    assert all(re.match(r"[-+~] \S", line) for line in lines)


def test_what_needs_a_restart_is_held_against_the_start():
    started = config("server: {port: 1}")
    other = config(
        "server: {port: 2, workers: 3, host: localhost, metrics: {port: 5, host: localhost}}\n"
        'store: {url: "sqlite:x.db"}'
    )
    assert needs_restart(started, other) == list(NEED_RESTART)
    assert needs_restart(started, other, {"server.port", "server.workers"}) == [
        "server.host",
        "server.metrics.host",
        "server.metrics.port",
        "store",
    ]
    assert needs_restart(started, config("server: {port: 1, max_streams: 4}")) == []
