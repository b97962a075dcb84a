"""What the embedded default finds of clouds, and what `check --online` says of providers."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest
import trio
from click.testing import CliRunner

from tests.clouds.aws import KEY, SECRET, FakeBedrock
from trio_router.cli.commands import main
from trio_router.cli.online import ask_all
from trio_router.config import discover, discover_clouds
from trio_router.config.discover import embedded_config
from trio_router.config.file import parse_config
from trio_router.demo import Answer, DemoUpstream, Send
from trio_router.runtime import credentials


@pytest.fixture(autouse=True)
def _no_ollama_here(monkeypatch):
    monkeypatch.setattr(discover, "OLLAMA", None)


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(discover_clouds, "_is_installed", lambda package: True)


def found(**environ: str) -> dict[str, str]:
    """Where each provider is."""
    return {name: one.base_url for name, one in embedded_config(environ).providers.items()}


@pytest.mark.usefixtures("installed")
class TestTheEmbeddedDefault:
    def test_nothing_is_found_where_nothing_is(self, tmp_path):
        assert found(HOME=str(tmp_path)) == {}

    @pytest.mark.parametrize(
        "environ",
        [
            {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-west-1"},
            {"AWS_PROFILE": "work", "AWS_DEFAULT_REGION": "eu-west-1"},
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/t", "AWS_REGION": "eu-west-1"},
            {"AWS_BEARER_TOKEN_BEDROCK": "key", "AWS_REGION": "eu-west-1"},
        ],
    )
    def test_bedrock_is_found_by_its_credentials(self, environ):
        assert found(**environ) == {"bedrock": "https://bedrock-runtime.eu-west-1.amazonaws.com"}

    def test_the_region_may_stand_in_awss_files(self, tmp_path):
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / "config").write_text("[profile work]\nregion = ap-south-1\n")
        told = found(HOME=str(tmp_path), AWS_PROFILE="work")
        assert told == {"bedrock": "https://bedrock-runtime.ap-south-1.amazonaws.com"}

    def test_a_bearer_key_is_used_as_a_key(self):
        provider = embedded_config({"AWS_BEARER_TOKEN_BEDROCK": "a-key"}).providers["bedrock"]
        assert (provider.keys, provider.cloud) == (("a-key",), "")

    def test_vertex_is_found_by_googles_default_credentials(self, tmp_path):
        folder = tmp_path / ".config" / "gcloud"
        folder.mkdir(parents=True)
        file = folder / "application_default_credentials.json"
        file.write_text(json.dumps({"type": "authorized_user", "quota_project_id": "my-project"}))
        told = found(HOME=str(tmp_path))
        place = "https://aiplatform.googleapis.com/v1/projects/my-project/locations/global"
        assert told == {
            "vertex": f"{place}/publishers/google",
            "vertex-claude": f"{place}/publishers/anthropic",
        }

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"type": "x"}', '{"project_id": "../.."}'])
    def test_a_file_that_makes_no_sense_is_not_found(self, text, tmp_path):
        file = tmp_path / "account.json"
        file.write_text(text)
        assert found(GOOGLE_APPLICATION_CREDENTIALS=str(file)) == {}

    def test_azure_is_found_by_its_endpoint(self):
        environ = {"AZURE_OPENAI_ENDPOINT": "https://me.openai.azure.com/"}
        assert found(**environ) == {}
        keyed = embedded_config({**environ, "AZURE_OPENAI_API_KEY": "k"}).providers["azure"]
        assert (keyed.base_url, keyed.cloud) == ("https://me.openai.azure.com/openai/v1", "")
        identity = embedded_config({**environ, "AZURE_CLIENT_ID": "c"}).providers["azure"]
        assert identity.cloud == "entra"


def test_what_needs_a_package_that_is_not_there_is_not_found(monkeypatch):
    monkeypatch.setattr(discover_clouds, "_is_installed", lambda package: False)
    assert found(AWS_PROFILE="work") == {}
    assert list(found(AWS_BEARER_TOKEN_BEDROCK="key")) == ["bedrock"]


def test_a_missing_package_is_a_complaint_that_names_it(monkeypatch, tmp_path):
    monkeypatch.setattr(credentials, "_is_there", lambda package: False)
    path = tmp_path / "router.yaml"
    path.write_text(
        "providers:\n  b: {dialect: bedrock, region: us-east-1}\n"
        "  v: {dialect: gemini, vertex: {project: p}}\n"
    )
    result = CliRunner().invoke(main, ["check", "--config", str(path)])
    assert result.exit_code == 2
    assert "trio-router[aws]" in result.output
    assert "trio-router[google]" in result.output


# -- check --online


def _json(value, status: int = 200) -> Answer:
    head = [("content-type", "application/json")]
    return Answer(status, head, [Send(json.dumps(value).encode())], "length")


@asynccontextmanager
async def listening(script):
    async with trio.open_nursery() as nursery:
        upstream = DemoUpstream()
        upstream.script = script
        yield await nursery.start(upstream.serve)
        nursery.cancel_scope.cancel()


def script(request) -> Answer:
    if request.path.startswith("/good"):
        return _json({"data": [{"id": "one"}, {"id": "two"}]})
    if request.path.startswith("/azure"):
        return _json({"error": {"message": f"bad key {request.headers['api-key']}"}}, 401)
    return FAKE(request)


FAKE = FakeBedrock()
PROVIDERS = """
providers:
  good: {{base_url: "http://127.0.0.1:{port}/good/v1"}}
  azure: {{dialect: azure, base_url: "http://127.0.0.1:{port}/azure", api_key: sk-azure-secret-key}}
  bedrock: {{dialect: bedrock, region: us-east-1, base_url: "http://127.0.0.1:{port}"}}
  away: {{base_url: "http://127.0.0.1:1/v1"}}
  vertex: {{dialect: gemini, vertex: {{project: p}}, api_key: k, base_url: "http://127.0.0.1:1/v1"}}
"""


@pytest.mark.usefixtures("aws_keys")
async def test_each_provider_is_asked_at_once_and_no_secret_is_said():
    async with listening(script) as port:
        config = parse_config(PROVIDERS.format(port=port), {})
        findings = await ask_all(config)
    assert [(one.provider, one.is_good) for one in findings] == [
        ("good", True),
        ("azure", False),
        ("bedrock", True),
        ("away", False),
        ("vertex", False),
    ]
    lines = "\n".join(one.line() for one in findings)
    assert "good: good, 2 models" in lines
    assert "bedrock: good, 2 models" in lines
    assert "azure: provider_auth_error: bad key ***" in lines
    assert "cannot connect to away" in lines
    for secret in ("sk-azure-secret-key", KEY, SECRET):
        assert secret not in lines


def test_the_command_fails_if_a_provider_does(tmp_path):
    path = tmp_path / "router.yaml"
    path.write_text('providers: {away: {base_url: "http://127.0.0.1:1/v1"}}')
    result = CliRunner().invoke(main, ["check", "--online", "--config", str(path)])
    assert result.exit_code == 1
    assert "away: provider_network_error: cannot connect to away" in result.output
