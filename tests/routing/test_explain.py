from __future__ import annotations

from trio_router.config.file import parse_config
from trio_router.routing.explain import explain_routes

TEXT = """
providers:
  a: {base_url: "http://x", api_keys: [k1, k2], max_in_flight: 3, models: {x: {}}}
  b: {base_url: "http://x"}
routes:
  plain: {targets: [{model: a/x}], retry: {attempts: 0}}
  full:
    targets: [{model: a/x, weight: 3}, {model: b/y, context: 9000, prefill: true}]
    strategy: weighted
    sticky: header:x-session
    first_event: 4
    hedge: {after: p95, share: 0.05}
    midstream: prefill
    content_filter: fallback
    on_disconnect: {drain: {seconds: 7, max: 2}}
"""


def test_each_setting_is_told_in_words():
    lines = list(explain_routes(parse_config(TEXT, {})))
    split = lines.index(next(line for line in lines if line.startswith("  full:")))
    plain, full = "\n".join(lines[:split]), "\n".join(lines[split:])
    assert "1. a/x, first event in 10 s, 2 keys in turn, at most 3 at once" in plain
    assert "same target: never" in plain
    assert "the upstream is closed at once" in plain
    for words in (
        "at random by weight",
        "same header:x-session",
        "weight 3, first event in 4 s",
        "context of 9000 tokens, prefill",
        "up to 2 times",
        "95th percentile",
        "at most 5% of the streams",
        "larger context",
        "refusal: next target",
        "continues what was sent",
        "may finish within 7 s, 2 of them",
    ):
        assert words in full


def test_patterns_are_told_in_the_order_in_which_they_are_looked_at():
    text = """
providers: {a: {base_url: "http://x", timeouts: {first_event: 7}}}
routes:
  "*": {targets: [{model: "a/*"}]}
  claude-*: {targets: [{model: "a/claude-*"}]}
  exact: {targets: [{model: a/x}]}
"""
    lines = list(explain_routes(parse_config(text, {})))
    heads = [line.split(":")[0].strip() for line in lines if line.endswith("in this order")]
    assert heads == ["exact", "claude-*", "*"]
    assert "    1. a/claude-*, first event in 7 s" in lines
    assert "the names that it matches" in lines[lines.index("  claude-*: in this order") + 1]


def test_a_route_for_unknown_names_is_told_so():
    text = "providers: {a: {base_url: 'http://x'}}\nroutes: {default: {targets: [{model: a/x}]}}"
    lines = list(explain_routes(parse_config(text, {})))
    assert "also for every name that no route and no provider has" in lines[1]


def test_what_a_conversation_keeps_is_told():
    text = """
providers: {a: {base_url: "http://x", api_keys: [k, l]}, b: {base_url: "http://x"}}
routes:
  ordered: {targets: [{model: a/x}, {model: b/x}]}
  spread: {targets: [{model: b/x}, {model: b/y}], strategy: lowest_latency}
  both: {targets: [{model: a/x}, {model: b/y}], strategy: weighted}
  each: {targets: [{model: a/x}, {model: b/y}], strategy: weighted, affinity: off}
  plain: {targets: [{model: b/x}, {model: b/y}]}
"""
    lines = list(explain_routes(parse_config(text, {})))
    assert [line.partition("affinity: ")[2] for line in lines if "affinity" in line] == [
        "the requests of a conversation have one key",
        "the requests of a conversation have one target",
        "the requests of a conversation have one target and key",
        "off; each request of a conversation may get another target and key",
    ]
    assert "    1. b/x, weight 1, first event in 10 s" in lines
