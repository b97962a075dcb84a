from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr

from tests.config.complaints import complaints
from trio_router.config.discover import embedded_config
from trio_router.config.file import ConfigError, load_config, parse_config
from trio_router.config.kinds import KINDS
from trio_router.config.schema import DialectName
from trio_router.dialects import DIALECTS
from trio_router.routing.table import RouteTable

ROOT = Path(__file__).parents[2]


def test_every_complaint_comes_at_once_with_its_line():
    text = """\
server:
  prt: 1
  port: 99999
timeouts: {conect: 3, read: 0}
providers:
  deepseek:
    dialect: opnai
    api_key: ${NOPE_KEY}
    models:
      chat: {upstream_modl: x, timeouts: {first_evnt: 3}}
  b:
    base_url: ftp://x
"""
    assert [c.split(": ", 2)[:2] for c in complaints(text)] == [
        ["router.yaml:2", "server.prt"],
        ["router.yaml:3", "server.port"],
        ["router.yaml:4", "timeouts.conect"],
        ["router.yaml:4", "timeouts.read"],
        ["router.yaml:6", "providers.deepseek"],
        ["router.yaml:7", "providers.deepseek.dialect"],
        ["router.yaml:8", "providers.deepseek.api_key"],
        ["router.yaml:10", "providers.deepseek.models.chat.timeouts.first_evnt"],
        ["router.yaml:10", "providers.deepseek.models.chat.upstream_modl"],
        ["router.yaml:12", "providers.b.base_url"],
    ]


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("servr: {}", "server"),
        ("timeouts: {frist_event: 1}", "first_event"),
        ("providers: {a: {base_url: 'http://x', base_ur: y}}", "base_url"),
        ("providers: {a: {base_url: 'http://x', models: {m: {opts: {}}}}}", "options"),
        ("auth: {keys: [{nam: x, key: y}]}", "name"),
        ("stream: {bufer: 1}", "buffer"),
    ],
)
def test_an_unknown_key_is_told_the_nearest_known_one(text, near):
    assert f"unknown key; did you mean {near}?" in complaints(text)[0]


def test_variables_are_taken_from_the_environment_anywhere():
    text = """
server: {port: "${PORT:-9000}"}
providers: {a: {base_url: "http://${HOST}:1/v1", api_key: "${KEY}", headers: {x: "a ${KEY} b"}}}
"""
    config = parse_config(text, {"HOST": "h", "KEY": "sk-1"})
    assert config.server.port == 9000
    assert config.providers["a"].base_url == "http://h:1/v1"
    assert config.providers["a"].api_key == SecretStr("sk-1")
    assert config.providers["a"].headers["x"] == SecretStr("a sk-1 b")


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}])
def test_a_missing_variable_is_a_complaint_not_an_empty_key(environ):
    (complaint,) = complaints("providers: {a: {base_url: 'http://x', api_key: '${KEY}'}}", **environ)
    assert "the environment variable KEY is not set" in complaint


def test_secrets_are_in_no_text_of_a_configuration():
    provider = "{base_url: 'http://x', api_key: sk-up, headers: {x: sk-head}}"
    text = f"auth: {{keys: [sk-client]}}\nproviders: {{a: {provider}}}"
    config = parse_config(text, {})
    shown = f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"
    for secret in ("sk-client", "sk-up", "sk-head"):
        assert secret not in shown


@pytest.mark.parametrize(
    "text",
    [
        "providers: {a: {base_url: 'http://user:sk-secret@x/v1'}}",
        "auth: {keys: [{name: [sk-secret], key: sk-secret}]}",
        "providers: {a: {base_url: 'http://x', api_key: {sk-secret: sk-secret}}}",
        "providers: {a: {base_url: 'http://x', headers: {'x y': sk-secret}}}",
    ],
)
def test_complaints_do_not_repeat_secrets(text):
    assert "sk-secret" not in complaints(text)[0].replace("api_key.sk-secret", "")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("server: [", "not YAML"),
        ("- a", "must be a mapping"),
        ("server: {port: 1, port: 2}", "is given twice"),
        ("providers: {'a/b': {base_url: 'http://x'}}", "providers"),
        ("providers: {a: {}}", "base_url is missing"),
        ("auth: {keys: ['']}", "empty"),
        ("server: {port: eighty}", "integer"),
        ("server: {workers: 0}", "greater than or equal to 1"),
        ("server: {keyfile: README.md}", "certfile"),
        ("server: {certfile: nowhere.pem}", "file"),
        ("providers: {o: {dialect: ollama, base_url: 'http://127.0.0.1:11434/v1'}}", "its root"),
    ],
)
def test_what_is_wrong_is_said(text, word):
    assert word in complaints(text)[0]


def test_a_file_that_is_not_there_is_a_complaint(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")


def test_an_empty_file_and_empty_sections_are_the_defaults():
    assert parse_config("", {}) == parse_config("server:\nauth:\nproviders:\n", {})


def test_null_is_never_and_an_override_may_take_a_limit_away():
    text = """
timeouts: {first_event: 5, read: 6}
providers:
  p:
    base_url: http://x
    timeouts: {read: null}
    models: {m: {timeouts: {first_event: null}}, n: {}}
"""
    table = RouteTable(parse_config(text, {}))
    assert (table.resolve("p/m").timeouts.first_event, table.resolve("p/m").timeouts.read) == (
        None,
        None,
    )
    assert (table.resolve("p/n").timeouts.first_event, table.resolve("p/n").timeouts.connect) == (5, 10)


def test_the_example_works_as_it_stands():
    config = load_config(ROOT / "config" / "router.yaml", {})
    assert RouteTable(config).resolve("deepseek/chat").upstream_model == "deepseek-chat"
    assert config.server.demo


def test_the_example_shows_the_defaults():
    shown = load_config(ROOT / "config" / "router.yaml", {})
    plain = parse_config("", {})
    assert shown.timeouts == plain.timeouts
    assert shown.stream == plain.stream
    assert shown.server == plain.server.model_copy(update={"demo": True})


def test_well_known_providers_are_found_by_their_keys():
    config = embedded_config({"DEEPSEEK_API_KEY": "sk-1", "GROQ_API_KEY": " "})
    assert config.server.demo
    assert "deepseek" in config.providers
    assert "groq" not in config.providers
    known = {variable for kind in KINDS for variable in kind.variables}
    assert {"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY"} <= known


@pytest.mark.parametrize(
    ("variable", "name", "dialect"),
    [
        ("OPENAI_API_KEY", "openai", "openai"),
        ("ANTHROPIC_API_KEY", "anthropic", "anthropic"),
        ("GEMINI_API_KEY", "gemini", "gemini"),
        ("CO_API_KEY", "cohere", "cohere"),
        ("COHERE_API_KEY", "cohere", "cohere"),
    ],
)
def test_well_known_providers_are_spoken_to_in_their_own_dialect(variable, name, dialect):
    config = embedded_config({variable: "k"})
    assert config.providers[name].dialect == dialect


def test_every_dialect_can_be_configured():
    assert set(get_args(DialectName)) == set(DIALECTS)


class TestRoutes:
    PROVIDERS = """\
server: {demo: true}
providers:
  a: {base_url: "http://x", models: {chat: {}, large: {timeouts: {first_event: 120}}}}
  b: {base_url: "http://x"}
"""

    def test_every_complaint_names_its_place_and_what_is_near(self):
        text = (
            self.PROVIDERS
            + """\
routes:
  fast:
    targets:
      - {model: a/caht}
      - {model: c/any}
      - {model: b/any, wieght: 3}
      - {model: slow}
      - {model: b/any}
      - {model: nothing}
    stratgy: weighted
    retry: {attemps: 3}
    midstream: prefill
    sticky: cookie
    on_disconnect: {drain: {secnds: 3}}
  slow:
    targets: [{model: demo/echo}]
    hedge: {after: 1}
    commit: complete
    midstream: replay
  none: {targets: []}
  a/b: {targets: [{model: b/x}]}
"""
        )
        found = [c.removeprefix("router.yaml:") for c in complaints(text)]
        expected = [
            ("8", "routes.fast.targets.0.model", "did you mean a/chat?"),
            ("9", "routes.fast.targets.1.model", "there is no model c/any"),
            ("10", "routes.fast.targets.2.wieght", "did you mean weight?"),
            ("11", "routes.fast.targets.3.model", "slow is a route"),
            ("12", "routes.fast.targets.4.model", "a target of this route already"),
            ("13", "routes.fast.targets.5.model", "there is no model nothing"),
            ("14", "routes.fast.stratgy", "did you mean strategy?"),
            ("15", "routes.fast.retry.attemps", "did you mean attempts?"),
            ("16", "routes.fast.midstream", "no target declares prefill"),
            ("17", "routes.fast.sticky", "key, user or header:NAME"),
            ("18", "routes.fast.on_disconnect.drain.secnds", "did you mean seconds?"),
            ("21", "routes.slow.hedge", "no second target"),
            ("23", "routes.slow.midstream", "of no use with commit: complete"),
            ("24", "routes.none.targets", "at least 1"),
            ("25", "routes.a/b", ""),
        ]
        for line, place, words in expected:
            assert any(c.startswith(f"{line}: {place}") and words in c for c in found), (
                f"{line}: {place}: {words} in {found}"
            )
        assert len(found) == len(expected)

    def test_the_contracts_defaults(self):
        config = parse_config(self.PROVIDERS + "routes: {r: {targets: [{model: b/x}]}}", {})
        route = config.routes["r"]
        assert route.strategy == "fallback"
        assert (route.retry.attempts, route.retry.base, route.retry.max) == (2, 0.5, 8)
        assert route.retry.retry_after_max == 30
        assert (route.commit, route.midstream, route.hedge) == ("first_event", "error", None)
        assert route.on_disconnect is None
        cooldown = route.cooldown
        assert (cooldown.failures, cooldown.window, cooldown.base, cooldown.max) == (3, 30, 10, 20)
        assert cooldown.retry_after == 300

    @pytest.mark.parametrize(("said", "limits"), [("", [10, 120]), ("first_event: 5,", [5, 5])])
    def test_a_routes_limit_counts_and_its_default_gives_way(self, said, limits):
        text = f"routes: {{r: {{{said} targets: [{{model: a/chat}}, {{model: a/large}}]}}}}"
        route = RouteTable(parse_config(self.PROVIDERS + text, {})).routes["r"]
        assert [t.target.timeouts.first_event for t in route.targets] == limits

    def test_a_target_of_the_embedded_provider_comes_when_it_is_there(self):
        text = "routes: {r: {targets: [{model: demo/echo}, {model: b/x}]}}"
        route = RouteTable(parse_config(self.PROVIDERS + text, {})).routes["r"]
        assert route.names == ["b/x"]

    def test_several_keys_are_one_providers(self):
        keys = "api_key: key-1, api_keys: [key-2, key-1]"
        text = f"providers: {{a: {{base_url: 'http://x', {keys}, models: {{m: {{}}}}}}}}"
        config = parse_config(text, {})
        assert config.providers["a"].keys == ("key-1", "key-2")
        target = RouteTable(config).target("a/m")
        assert [t.headers["authorization"] for t in target.keyed] == ["Bearer key-1", "Bearer key-2"]
        assert "key-" not in repr(config)

    def test_an_empty_key_among_several_is_refused(self):
        (complaint,) = complaints("providers: {a: {base_url: 'http://x', api_keys: ['']}}")
        assert "the key is empty" in complaint
