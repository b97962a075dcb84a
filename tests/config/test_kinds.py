"""What is known of the kinds of provider is told in one place, and read from there."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import pytest

import trio_router
from trio_router.api.passing import _may_be_meant
from trio_router.config import discover, kinds
from trio_router.config.discover import embedded_config
from trio_router.config.file import ConfigError, parse_config
from trio_router.config.kinds import KINDS, Kind, kind_at, kind_called
from trio_router.config.schema import ProviderConfig, ServerConfig
from trio_router.dialects import DIALECTS
from trio_router.observe.record import RequestRecord
from trio_router.observe.tracing import _attributes
from trio_router.routing.table import RouteTable

ROOT = Path(trio_router.__file__).parent
ACME = Kind(
    "acme",
    "https://llm.acme.example/v1",
    variables=("ACME_API_KEY",),
    hosts=("acme.cloud",),
    has_responses=True,
    has_completions=False,
    ask_usage=False,
    lenient_end=True,
    traced_as="acme.ai",
)


@pytest.fixture(autouse=True)
def _no_ollama_here(monkeypatch):
    monkeypatch.setattr(discover, "OLLAMA", None)


@pytest.fixture
def acme(monkeypatch):
    """A kind that nobody has heard of: its entry is all that is added."""
    monkeypatch.setattr(kinds, "KINDS", (*KINDS, ACME))


def target_of(base_url, **settings):
    provider = ProviderConfig(base_url=base_url, **settings)
    config = parse_config("", {}).model_copy(update={"providers": {"any": provider}})
    return RouteTable(config).target("any/m")


@pytest.mark.usefixtures("acme")
class TestANewKindIsOneEntry:
    def test_its_key_is_found_in_the_environment(self):
        found = embedded_config({"ACME_API_KEY": "sk-acme"}).providers["acme"]
        assert (found.dialect, found.base_url) == ("openai", "https://llm.acme.example/v1")
        assert found.keys == ("sk-acme",)

    @pytest.mark.parametrize(
        "base_url",
        ["https://llm.acme.example/v1", "http://eu.acme.cloud:8443", "https://a.llm.acme.example"],
    )
    def test_a_provider_at_one_of_its_hosts_has_its_quirks(self, base_url):
        target = target_of(base_url)
        assert target.native == {"responses": "/responses"}
        assert not target.ask_usage
        assert target.rules.lenient_end

    def test_what_the_configuration_says_counts_more(self):
        told = {"responses": False, "completions": True, "ask_usage": True, "lenient_end": False}
        target = target_of("https://llm.acme.example/v1", **told)
        assert target.native == {"completions": "/completions"}
        assert target.ask_usage
        assert not target.rules.lenient_end

    def test_traces_have_its_name_of_the_conventions(self):
        record = RequestRecord("r", 0.0, provider="acme")
        assert _attributes(record, "")["gen_ai.provider.name"] == "acme.ai"

    def test_another_host_has_none_of_it(self):
        target = target_of("https://notacme.cloud/v1")
        assert target.native == {"completions": "/completions"}
        assert target.ask_usage
        assert not target.rules.lenient_end


class TestTheKinds:
    @pytest.mark.parametrize(
        ("base_url", "responses", "completions"),
        [
            ("https://api.openai.com/v1", True, True),
            ("https://eu.api.openai.com/v1", True, True),
            ("https://API.OpenAI.com/v1", True, True),
            ("https://notapi.openai.com.example/v1", False, True),
            ("https://xapi.openai.com/v1", False, True),
            ("https://x.openai.azure.com", True, True),
            ("https://x.azure.com", False, True),
            ("https://openrouter.ai/api/v1", True, True),
            ("https://api.x.ai/v1", True, True),
            ("https://api.groq.com/openai/v1", True, False),
            ("https://api.anthropic.com/v1", False, False),
            ("https://api.deepseek.com", False, False),
            ("https://api.mistral.ai/v1", False, False),
            ("https://api.perplexity.ai", False, False),
            ("https://generativelanguage.googleapis.com/v1beta/openai", False, False),
            ("https://api.together.xyz/v1", False, True),
            ("https://api.cerebras.ai/v1", False, True),
            ("https://api.cohere.com/compatibility/v1", False, True),
            ("http://127.0.0.1:11434/v1", False, True),
        ],
    )
    def test_a_host_tells_which_apis_there_are(self, base_url, responses, completions):
        provider = ProviderConfig(base_url=base_url)
        assert (provider.has_responses, provider.has_completions) == (responses, completions)

    def test_no_two_share_a_name_a_host_or_a_variable(self):
        for one, other in itertools.permutations(KINDS, 2):
            assert one.name != other.name
            assert not set(one.variables) & set(other.variables)
            assert not [host for host in one.all_hosts if other.is_at(host)]

    @pytest.mark.parametrize("kind", [k for k in KINDS if k.base_url], ids=lambda k: k.name)
    def test_each_is_found_by_each_of_its_variables_and_can_be_configured(self, kind):
        for variable in kind.variables:
            found = embedded_config({variable: "k"}).providers[kind.name]
            assert (found.base_url, found.dialect) == (kind.base_url, kind.dialect)
            assert found.kind is kind

    def test_each_speaks_a_dialect_that_there_is(self):
        assert {kind.dialect for kind in KINDS} <= set(DIALECTS)

    def test_of_two_variables_the_first_one_that_says_something_counts(self):
        both = {"CO_API_KEY": "old", "COHERE_API_KEY": "new"}
        assert embedded_config(both).providers["cohere"].keys == ("new",)
        both["COHERE_API_KEY"] = " "
        assert embedded_config(both).providers["cohere"].keys == ("old",)

    def test_of_an_unknown_one_nothing_is_claimed(self):
        assert kind_called("nobody") == kind_at("http://nobody.example") == Kind("")


class TestAnEmbeddedKind:
    SERVER = "server: {demo: true}\n"
    ROUTE = "routes: {r: {targets: [{model: demo/echo}]}}\n"

    def test_runs_if_the_server_says_so_under_its_name(self):
        assert ServerConfig(demo=True).embedded == ["demo"]
        assert ServerConfig().embedded == []

    def test_is_a_target_of_routes_only_if_it_runs(self):
        assert "r" in parse_config(self.SERVER + self.ROUTE, {}).routes
        with pytest.raises(ConfigError, match="there is no model demo/echo"):
            parse_config(self.ROUTE, {})

    def test_is_never_meant_by_a_request_that_names_no_provider(self):
        provider = ProviderConfig(base_url="http://h/v1")
        assert _may_be_meant("openai", provider)
        assert not _may_be_meant("demo", provider)
        assert not _may_be_meant("a", ProviderConfig(base_url="http://h", dialect="anthropic"))


def strings(path):
    """The strings of a file, without its docstrings."""
    tree = ast.parse(path.read_text())
    docs = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_other_file_knows_a_provider_by_its_host_its_key_or_as_embedded(path):
    place = path.relative_to(ROOT)
    if place.as_posix() == "config/kinds.py":
        return
    secrets = {variable for kind in KINDS for variable in kind.variables}
    hosts = {host for kind in KINDS for host in kind.all_hosts}
    embedded = {kind.name for kind in KINDS if kind.is_embedded}
    if place.parts[0] == "demo" or place.as_posix() == "runtime/embedded.py":
        embedded = set()
    for text in strings(path):
        assert text not in secrets | embedded
        assert not [host for host in hosts if host in text]


class TestWhatAProviderTakes:
    @pytest.mark.parametrize(
        ("settings", "can"),
        [
            ({"base_url": "http://127.0.0.1:8000/v1"}, True),
            ({"base_url": "https://gateway.example/v1"}, True),
            ({"base_url": "https://api.openai.com/v1"}, False),
            ({"base_url": "https://x.openai.azure.com", "dialect": "azure"}, False),
            ({"base_url": "http://127.0.0.1:8000/v1", "tokenize": False}, False),
            ({"base_url": "https://api.groq.com/openai/v1", "tokenize": True}, True),
        ],
    )
    def test_a_server_of_no_known_kind_may_count_tokens(self, settings, can):
        assert ProviderConfig(**settings).can_tokenize is can

    def test_any_beta_is_taken_unless_the_kind_or_the_configuration_says_which(self):
        settings = {"base_url": "https://claude.example/v1", "dialect": "anthropic"}
        assert ProviderConfig(**settings).known_betas is None
        assert ProviderConfig(**settings, betas=["a", "b"]).known_betas == {"a", "b"}
        assert ProviderConfig(**settings, betas=[]).known_betas == set()
