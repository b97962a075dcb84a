"""What `check` says of who may reach the router."""

from __future__ import annotations

import pytest

from tests.config.complaints import complaints
from trio_router.config.file import ConfigError, parse_config

PROVIDERS = "\nproviders: {p: {base_url: http://x/v1}}"


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "'::'", "'[::]'", "192.168.1.1", "example.org", "''", "'*'", "${HOST}"]
)
def test_an_address_that_others_can_reach_needs_keys(host):
    text = f"server:\n  port: 1\n  host: {host}{PROVIDERS}"
    (complaint,) = complaints(text, HOST="0.0.0.0")
    assert complaint.startswith("router.yaml:3: server.host: ")
    assert "no keys are configured" in complaint
    assert parse_config(f"auth: {{keys: [k]}}\n{text}", {"HOST": "0.0.0.0"})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "'::1'", "127.1.2.3"])
def test_loopback_needs_none(host):
    assert parse_config(f"server: {{host: {host}}}{PROVIDERS}", {})


def test_admin_keys_are_no_keys_of_clients():
    text = f"server: {{host: 0.0.0.0}}\nauth: {{keys: [], admin_keys: [admin-key-of-anna]}}{PROVIDERS}"
    assert "no keys are configured" in complaints(text)[0]


def test_the_address_of_the_command_line_counts_instead():
    text = f"server: {{host: 0.0.0.0}}{PROVIDERS}"
    assert parse_config(text, {}, host="127.0.0.1")
    with pytest.raises(ConfigError, match="can be reached"):
        parse_config(PROVIDERS, {}, host="10.0.0.1")


def test_it_is_told_beside_every_other_complaint():
    text = "server: {host: 0.0.0.0, prt: 1}\nroutes: {fast: {targets: [{model: p/m}]}}\nx: 1"
    assert len(complaints(text)) == 4


@pytest.mark.parametrize(
    ("cors", "place", "word"),
    [
        ("{origins: ['*']}", "server.cors.origins.0", "every web page"),
        ("{origins: ['https://a.example', 'null']}", "server.cors.origins.1", "every web page"),
        ("{origins: []}", "server.cors.origins", "at least 1"),
        ("{}", "server.cors", "origins is missing"),
        ("{origins: ['https://a.example/x']}", "server.cors.origins", "no origin"),
        ("{origins: ['a.example']}", "server.cors.origins", "no origin"),
        ("{origins: ['https://*.a.example']}", "server.cors.origins", "no origin"),
        ("{origins: ['https://me@a.example']}", "server.cors.origins", "no origin"),
        ('{origins: ["https://a.example\\r\\nx: y"]}', "server.cors.origins", "no origin"),
        ("{origins: ['https://bücher.example']}", "server.cors.origins", "no origin"),
        ("{origin: ['https://a.example']}", "server.cors.origin", "did you mean origins"),
    ],
)
def test_origins_that_cannot_be_meant_are_told(cors, place, word):
    told = complaints(f"server: {{cors: {cors}}}{PROVIDERS}")
    assert any(f": {place}: " in line and word in line for line in told), told


def test_star_stands_alone():
    text = "auth: {keys: [k]}\nserver: {cors: {origins: ['*', 'https://a.example']}}"
    assert "stands alone" in complaints(text + PROVIDERS)[0]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("https://App.Example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80", "http://app.example"),
        ("http://app.example:8080", "http://app.example:8080"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ],
)
def test_origins_are_kept_as_browsers_write_them(given, meant):
    config = parse_config(f"server: {{cors: {{origins: ['{given}']}}}}{PROVIDERS}", {})
    assert config.server.cors is not None
    assert config.server.cors.origins == (meant,)


def test_metrics_for_admins_need_an_admin_key_and_a_host_needs_a_port():
    assert "server.metrics.auth" in complaints(f"server: {{metrics: {{auth: admin}}}}{PROVIDERS}")[0]
    told = complaints(f"server: {{metrics: {{host: 0.0.0.0}}}}{PROVIDERS}")
    assert "server.metrics: host is of no use without port" in told[0]
