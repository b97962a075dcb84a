"""Who may look at the dashboard."""

from __future__ import annotations

import pytest

from trio_router.config.file import ConfigError, parse_config
from trio_router.config.schema import AuthConfig
from trio_router.errors import Forbidden, Unauthorized
from trio_router.policy.admins import COOKIE, LIFE, Admins, is_same_origin, no_cookie

KEY = "admin-key-of-anna"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def admins(clock=None, key: str = KEY, **more) -> Admins:
    return Admins(
        AuthConfig(admin_keys=[{"name": "anna", "key": key}], **more), clock or Clock(), Clock()
    )


def admit(who: Admins, *, cookie: str = "", authorization: str = "", server="127.0.0.1"):
    return who.admit(authorization=authorization, cookies=cookie, server=server)


def cookie_of(header: str) -> str:
    return header.partition(";")[0]


@pytest.fixture(scope="module")
def anna() -> Admins:
    return admins()


def test_a_cookie_stands_for_its_key(anna):
    cookie = cookie_of(anna.cookie("anna", is_secure=False))
    assert KEY not in cookie
    assert admit(anna, cookie=f"other=1; {cookie}") == "anna"


def test_a_cookie_is_good_after_a_restart_and_with_every_worker(anna):
    assert admit(admins(), cookie=cookie_of(anna.cookie("anna", is_secure=False))) == "anna"


def test_a_cookie_is_worthless_once_the_key_is_another(anna):
    with pytest.raises(Unauthorized):
        admit(admins(key="another-key-of-anna"), cookie=cookie_of(anna.cookie("anna", is_secure=False)))


def test_a_cookie_ends_after_half_a_day():
    clock = Clock()
    who = admins(clock)
    cookie = cookie_of(who.cookie("anna", is_secure=False))
    clock.now += LIFE - 1
    assert admit(who, cookie=cookie) == "anna"
    clock.now += 1
    with pytest.raises(Unauthorized):
        admit(who, cookie=cookie)


@pytest.mark.parametrize("change", range(0, 100, 7))
def test_a_cookie_that_was_changed_is_no_cookie(anna, change):
    name, _, value = cookie_of(anna.cookie("anna", is_secure=False)).partition("=")
    place = change % len(value)
    other = "0" if value[place] != "0" else "1"
    with pytest.raises(Unauthorized):
        admit(anna, cookie=f"{name}={value[:place]}{other}{value[place + 1 :]}")


@pytest.mark.parametrize("value", ["", ".", "..", "a.b.c", "9999999999.YW5uYQ==.", "é.é.é", "1" * 5000])
def test_what_is_no_cookie_of_ours_lets_nobody_in(anna, value):
    with pytest.raises(Unauthorized):
        admit(anna, cookie=f"{COOKIE}={value}")


def test_a_key_signs_for_its_own_name_alone():
    """Who knows one admin's key, and so its secret, cannot be another admin."""
    bobs = "admin-key-of-bob"
    keys = [{"name": "anna", "key": KEY}, {"name": "bob", "key": bobs}]
    both = Admins(AuthConfig(admin_keys=keys), Clock(), Clock())
    assert admit(both, cookie=cookie_of(both.cookie("bob", is_secure=False))) == "bob"
    with pytest.raises(Unauthorized):  # it says anna, and was signed with bob's secret
        admit(both, cookie=cookie_of(admins(key=bobs).cookie("anna", is_secure=False)))


def test_a_script_may_send_the_key_itself(anna):
    assert admit(anna, authorization=f"Bearer {KEY}") == "anna"
    with pytest.raises(Unauthorized):
        admit(
            anna, authorization="Bearer wrong", cookie=cookie_of(anna.cookie("anna", is_secure=False))
        )


def test_the_cookie_is_for_no_script_and_no_other_site(anna):
    words = {word.strip() for word in anna.cookie("anna", is_secure=True).split(";")}
    assert {"HttpOnly", "SameSite=Strict", "Path=/dashboard", "Secure"} <= words
    assert "Max-Age=0" in no_cookie(is_secure=False)


def test_a_clients_key_is_no_admin_key():
    who = Admins(AuthConfig(keys=["client-key-client"]), Clock(), Clock())
    with pytest.raises(Forbidden, match="admin_keys"):
        admit(who, authorization="Bearer client-key-client")


@pytest.mark.parametrize(
    ("server", "is_let_in"),
    [("127.0.0.1", True), ("::1", True), (None, True), ("10.0.0.5", False)],
)
def test_without_keys_only_this_machine_may_look(server, is_let_in):
    who = Admins(AuthConfig(), Clock(), Clock())
    if is_let_in:
        assert admit(who, server=server) is None
    else:
        with pytest.raises(Forbidden):
            admit(who, server=server)


@pytest.mark.parametrize(
    ("site", "origin", "same"),
    [
        ("same-origin", "", True),
        ("same-site", "http://router:1", False),
        ("cross-site", "http://router:1", False),
        ("none", "", False),
        ("", "http://router:1", True),
        ("", "https://evil.example", False),
        ("", "null", False),
        ("", "", False),
    ],
)
def test_only_a_page_of_ours_is_of_our_origin(site, origin, same):
    assert is_same_origin(site=site, origin=origin, host="router:1") is same


@pytest.mark.parametrize(
    ("auth", "complaint"),
    [
        ("{admin_keys: [short]}", "1:.*shorter than 16"),
        ("{keys: [a-key-of-both-of-us], admin_keys: [a-key-of-both-of-us]}", "client's key too"),
    ],
)
def test_a_bad_admin_key_is_complained_of(auth, complaint):
    with pytest.raises(ConfigError, match=complaint) as fault:
        parse_config(f"auth: {auth}", {})
    assert "a-key-of-both" not in str(fault.value)
