"""What one configuration makes, and what its successor takes over."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
import trustme

from trio_router.clock.clock import SYSTEM
from trio_router.config.file import ConfigError, parse_config
from trio_router.errors import Unauthorized
from trio_router.policy.admins import LIFE
from trio_router.routing.circuit import CircuitState
from trio_router.runtime.clients import SharedClients
from trio_router.runtime.generation import prepare, succeed

PROVIDER = 'providers: {a: {base_url: "http://a", models: {x: {}}}}\n'
ROUTE = "routes: {r: {targets: [{model: a/x}]}}\n"
ADMIN = "auth: {admin_keys: [{name: anna, key: the-secret-key-of-anna}]}\n"


def config(text: str = ""):
    return parse_config(PROVIDER + ROUTE + text, {})


def draft(text: str = "", before=None):
    return prepare(config(text), SYSTEM, tuple, before)


def test_a_generation_has_what_its_configuration_says_and_what_runs():
    clients = SharedClients()
    made = draft(ADMIN)
    generation = succeed(made, None, clients, 7)
    assert generation.number == 7
    for field in dataclasses.fields(made):
        assert getattr(generation, field.name) is getattr(made, field.name)
    assert list(generation.upstreams.clients) == ["a"]
    assert list(generation.upstreams.fleet.targets) == ["a/x"]
    assert generation.tls is None


def test_a_generation_cannot_be_changed():
    generation = succeed(draft(), None, SharedClients(), 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        generation.number = 2


def test_a_successor_shares_clients_and_what_is_known_of_unchanged_targets():
    clients = SharedClients()
    first = succeed(draft(), None, clients, 1)
    second = succeed(draft("stream: {max_event: 3000000}\n"), first, clients, 2)
    assert second.upstreams is not first.upstreams
    assert second.upstreams.clients["a"] is first.upstreams.clients["a"]
    assert second.upstreams.fleet.targets["a/x"] is first.upstreams.fleet.targets["a/x"]


def test_without_one_before_it_a_generation_knows_nothing():
    clients = SharedClients()
    first = succeed(draft(), None, clients, 1)
    route = first.table.routes["r"]
    for _ in range(3):
        first.upstreams.fleet.targets["a/x"].circuit(route.policy.cooldown).failed(0.0)
    second = succeed(draft(), None, clients, 2)
    assert second.upstreams.fleet.targets["a/x"].state(0.0) is CircuitState.CLOSED


async def test_unchanged_admins_keep_their_cookies_keys_without_deriving_them_again():
    first = draft(ADMIN)
    assert draft(ADMIN + "stream: {max_event: 3000000}\n", first).admins is first.admins
    assert (
        draft(ADMIN.replace("the-secret-key-of-anna", "the-other-key-of-anna"), first).admins
        is not first.admins
    )


def test_a_certificate_that_cannot_be_used_is_told_as_a_complaint_and_nothing_is_made(tmp_path):
    nothing = tmp_path / "nothing.pem"
    wrong = config()
    server = wrong.server.model_copy(update={"certfile": nothing, "keyfile": nothing})
    wrong = wrong.model_copy(update={"server": server})
    with pytest.raises(ConfigError) as caught:
        prepare(wrong, SYSTEM, tuple)
    assert caught.value.complaints == [
        "server.certfile: the certificate cannot be used: No such file or directory"
    ]
    nothing.write_text("no certificate")
    with pytest.raises(ConfigError, match="the certificate cannot be used"):
        prepare(wrong, SYSTEM, tuple)


async def test_a_certificate_that_was_renewed_is_read_with_each_draft(tmp_path):
    path = tmp_path / "both.pem"
    authority = trustme.CA()

    def renew() -> None:
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))

    renew()
    text = f"server: {{certfile: {path}, keyfile: {path}}}\n"
    first = draft(text)
    renew()
    second = draft(text, first)
    assert first.tls is not None
    assert second.tls is not first.tls


async def test_the_admins_time_is_the_clocks():
    now = 1000.0
    admins = prepare(config(ADMIN), replace(SYSTEM, wall=lambda: now), tuple).admins
    cookie = admins.cookie("anna", is_secure=False).partition(";")[0]
    now += LIFE - 1
    assert admins.admit(authorization="", cookies=cookie, server=None) == "anna"
    now += 1
    with pytest.raises(Unauthorized):
        admins.admit(authorization="", cookies=cookie, server=None)
