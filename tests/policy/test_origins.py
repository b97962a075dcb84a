"""Which web pages may ask: the rules, without a server."""

from __future__ import annotations

import pytest

from trio_router.config.schema import CorsConfig
from trio_router.errors import ForbiddenOrigin, UnsupportedMediaType
from trio_router.policy.origins import Origins, is_loopback_host

CHAT = "/v1/chat/completions"
OPEN = Origins(None, has_keys=False)
HOST = (b"host", b"localhost:8777")
JSON = (b"content-type", b"application/json")
APP = "https://app.example"


def fields(**more: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in more.items()]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8777",
        "localhost.:8777",
        "localhost:",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.9.8.7:65535",
        "127.0.0.1.:80",
        "[::1]",
        "[::1]:8777",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]:80",
    ],
)
def test_loopback_names_are_answered(host):
    assert is_loopback_host(host.encode())
    OPEN.check("POST", CHAT, [(b"host", host.encode()), JSON])


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8777",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil-localhost",
        "localhost..",
        "0.0.0.0:8777",
        "[::]:8777",
        "[::1",
        "::1",
        "[127.0.0.1]",
        "[::1%25lo]:80",
        "[::1].evil.example",
        "192.168.0.1",
        "[::ffff:10.0.0.1]",
        "127.1",
        "127.0.0.01",
        "2130706433",
        "localhost@evil.example",
        "evil.example@localhost",
        "localhost:80@evil.example",
        "localhost:port",
        "localhost:123456",
        "localhost, evil.example",
        "localhost evil.example",
        "localhost/",
        "localhost\x00",
        "localhost\n",
        "lοcalhost",  # a Greek letter
        "localhost" + "." * 400,
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/metrics", "/dashboard", "/nothing"])
def test_every_other_name_is_refused_on_every_path(host, path):
    with pytest.raises(ForbiddenOrigin):
        OPEN.check("GET", path, [(b"host", host.encode())])


def test_one_foreign_name_among_several_is_enough_to_be_refused():
    for names in ([b"localhost", b"evil.example"], [b"evil.example", b"localhost"]):
        with pytest.raises(ForbiddenOrigin):
            OPEN.check("GET", CHAT, [(b"host", name) for name in names])


def test_no_name_at_all_is_good_for_a_health_check_alone():
    OPEN.check("GET", "/healthz", [])
    with pytest.raises(ForbiddenOrigin):
        OPEN.check("GET", "/healthz", [(b"host", b"evil.example")])
    with pytest.raises(ForbiddenOrigin):
        OPEN.check("GET", "/v1/models", [])


PAGES = [
    ({"origin": "https://evil.example"}, False),
    ({"origin": "null"}, False),
    ({"origin": ""}, False),
    ({"origin": "http://localhost.evil.example"}, False),
    ({"origin": "http://localhost@evil.example"}, False),
    ({"origin": "ftp://localhost"}, False),
    ({"origin": "chrome-extension://abcdef"}, False),
    ({"origin": "http://localhost:8777 https://evil.example"}, False),
    ({"origin": "http://localhost:8777"}, True),
    ({"origin": "http://localhost:3000"}, True),
    ({"origin": "http://[::1]:3000"}, True),
    ({"sec_fetch_site": "cross-site"}, False),
    ({"sec_fetch_site": "Cross-Site"}, False),
    ({"sec_fetch_site": "something-new"}, False),
    ({"sec_fetch_site": "cross-site", "origin": "http://127.0.0.1:3000"}, False),
    ({"sec_fetch_site": "same-site", "origin": "https://evil.example"}, False),
    ({"sec_fetch_site": "same-origin", "origin": "http://localhost:8777"}, True),
    ({"sec_fetch_site": "same-site", "origin": "http://localhost:3000"}, True),
    ({"sec_fetch_site": "none"}, True),
    ({}, True),
]


@pytest.mark.parametrize(("headers", "is_answered"), PAGES)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
def test_pages_of_other_sites_are_refused(headers, is_answered, method):
    head = [HOST, JSON, *fields(**headers)]
    if is_answered:
        OPEN.check(method, CHAT, head)
    else:
        with pytest.raises(ForbiddenOrigin):
            OPEN.check(method, CHAT, head)


def test_a_second_origin_does_not_hide_the_first():
    for order in (1, -1):
        two = [(b"origin", b"https://evil.example"), (b"origin", b"http://localhost")][::order]
        with pytest.raises(ForbiddenOrigin):
            OPEN.check("POST", CHAT, [HOST, JSON, *two])


def test_a_link_on_another_site_leads_to_the_dashboards_page_and_nowhere_else():
    link = fields(sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="document")
    framed = fields(sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="iframe")
    OPEN.check("GET", "/dashboard", [HOST, *link])
    for method, path, head in [
        ("GET", "/dashboard", framed),
        ("POST", "/dashboard", link),
        ("GET", "/dashboard/events", link),
        ("GET", "/v1/models", link),
        ("GET", "/metrics", link),
    ]:
        with pytest.raises(ForbiddenOrigin):
            OPEN.check(method, path, [HOST, *head])


SIMPLE = ["application/x-www-form-urlencoded", "multipart/form-data; boundary=a", None]
TEXT = ["text/plain", "TEXT/Plain", "text/plain;charset=UTF-8", " text/plain ; a=b"]


def posted(kind: str | None, **more: str) -> list[tuple[bytes, bytes]]:
    return [HOST, *([] if kind is None else [(b"content-type", kind.encode())]), *fields(**more)]


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/files", "/dashboard/login"])
def test_plain_text_is_never_taken(kind, path):
    for head in (posted(kind), posted(kind, origin="http://localhost:8777")):
        with pytest.raises(UnsupportedMediaType):
            OPEN.check("POST", path, head)


@pytest.mark.parametrize("kind", SIMPLE)
def test_what_a_form_could_send_is_taken_from_what_is_no_browser(kind):
    OPEN.check("POST", CHAT, posted(kind))
    for more in ({"origin": "http://localhost:3000"}, {"sec_fetch_site": "none"},
                 {"sec_fetch_mode": "no-cors"}, {"sec_fetch_dest": "empty"}):  # fmt: skip
        with pytest.raises(UnsupportedMediaType):
            OPEN.check("POST", CHAT, posted(kind, **more))


def test_the_dashboards_own_form_is_taken():
    form = posted(SIMPLE[0], origin="http://localhost:8777", sec_fetch_site="same-origin")
    OPEN.check("POST", "/dashboard/login", form)
    with pytest.raises(UnsupportedMediaType):
        OPEN.check("POST", "/dashboard-of-another", form)


def test_one_simple_type_among_several_is_enough_to_be_refused():
    with pytest.raises(UnsupportedMediaType):
        OPEN.check("POST", CHAT, [*posted("application/json"), (b"content-type", b"text/plain")])


def test_with_keys_nothing_is_asked_of_host_or_origin():
    guarded = Origins(None, has_keys=True)
    assert guarded.is_idle
    head = [(b"host", b"evil.example"), (b"origin", b"https://evil.example"), *posted("text/plain")]
    guarded.check("POST", CHAT, head)
    assert guarded.preflight("OPTIONS", CHAT, preflight()) is None
    assert guarded.answer_headers(CHAT, head) == {}


# -- server.cors


def cors(*origins: str, has_keys: bool = True) -> Origins:
    return Origins(CorsConfig(origins=origins), has_keys=has_keys)


def preflight(origin: str = APP, **more: str) -> list[tuple[bytes, bytes]]:
    return [HOST, *fields(origin=origin, access_control_request_method="POST", **more)]


def test_a_preflight_of_a_named_origin_is_answered_with_what_it_asked_for():
    asked = "authorization, content-type,x-stainless-os"
    head = preflight(access_control_request_headers=asked)
    rules = cors(APP)
    answer = rules.preflight("OPTIONS", CHAT, head)
    assert answer is not None
    assert answer["access-control-allow-headers"] == "authorization, content-type, x-stainless-os"
    assert {"POST", "GET", "DELETE"} <= set(answer["access-control-allow-methods"].split(", "))
    assert answer["access-control-max-age"] == "600"
    assert "access-control-allow-private-network" not in answer
    assert "access-control-allow-credentials" not in answer
    assert rules.answer_headers(CHAT, head)["access-control-allow-origin"] == APP


def test_header_names_that_are_none_are_not_given_back():
    for asked in ("x\r\ny: z", "a b", "", "a" * 5000):
        head = preflight(access_control_request_headers=asked)
        answer = cors(APP).preflight("OPTIONS", CHAT, head)
        assert answer is not None
        assert "access-control-allow-headers" not in answer


def test_a_page_on_the_internet_may_ask_a_router_in_a_private_network():
    head = preflight(access_control_request_private_network="true")
    answer = cors(APP).preflight("OPTIONS", CHAT, head)
    assert answer is not None
    assert answer["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.example",
        "https://sub.app.example",
        "https://app.example/",
        "HTTPS://APP.EXAMPLE",
        "null",
        "",
    ],
)
def test_no_other_origin_is_allowed_anything(origin):
    rules = cors(APP)
    with pytest.raises(ForbiddenOrigin):
        rules.preflight("OPTIONS", CHAT, preflight(origin))
    assert rules.answer_headers(CHAT, fields(origin=origin)) == {"vary": "Origin"}


def test_two_origins_are_none():
    assert "access-control-allow-origin" not in cors(APP).answer_headers(
        CHAT, fields(origin=APP) + fields(origin=APP)
    )


def test_null_is_allowed_where_it_is_named_or_all_are():
    assert cors("null").answer_headers(CHAT, fields(origin="null"))["access-control-allow-origin"] == (
        "null"
    )
    assert cors("*").answer_headers(CHAT, fields(origin="null"))["access-control-allow-origin"] == "*"


def test_for_all_origins_the_answer_is_the_same_whoever_asks():
    rules = cors("*")
    assert rules.preflight("OPTIONS", CHAT, preflight("https://any.example")) is not None
    told = [rules.answer_headers(CHAT, fields(**h)) for h in ({}, {"origin": APP})]
    assert told[0] == told[1]
    assert told[0]["access-control-allow-origin"] == "*"
    assert "vary" not in told[0]


def test_pages_may_read_what_we_say_in_headers():
    told = cors(APP).answer_headers(CHAT, fields(origin=APP))["access-control-expose-headers"]
    names = set(told.split(", "))
    assert {"x-request-id", "x-trio-router-target", "x-trio-router-attempts", "retry-after"} <= names
    assert {"x-ratelimit-limit-requests", "x-ratelimit-remaining-tokens"} <= names


@pytest.mark.parametrize("path", ["/metrics", "/dashboard", "/dashboard/stop", "/dashboard/events"])
def test_dashboard_and_metrics_are_shared_with_nobody(path):
    rules = cors("*")
    assert rules.preflight("OPTIONS", path, preflight()) is None
    assert rules.answer_headers(path, fields(origin=APP)) == {}


def test_without_keys_a_named_origin_may_ask_and_all_others_stay_outside():
    rules = cors(APP, has_keys=False)
    rules.check("POST", CHAT, [HOST, JSON, *fields(origin=APP, sec_fetch_site="cross-site")])
    rules.check("OPTIONS", CHAT, preflight(sec_fetch_site="cross-site"))
    assert rules.preflight("OPTIONS", CHAT, preflight()) is not None
    for head in (
        fields(origin="https://evil.example"),
        fields(sec_fetch_site="cross-site"),
        fields(origin="http://localhost:3000", sec_fetch_site="cross-site"),
    ):
        with pytest.raises(ForbiddenOrigin):
            rules.check("POST", CHAT, [HOST, JSON, *head])
    with pytest.raises(ForbiddenOrigin):
        rules.check("POST", CHAT, [(b"host", b"evil.example"), JSON, *fields(origin=APP)])
    with pytest.raises(UnsupportedMediaType):
        rules.check("POST", CHAT, [*posted("text/plain"), *fields(origin=APP)])


@pytest.mark.parametrize("everyone", ["*", "null"])
def test_without_keys_not_every_page_can_be_named(everyone):
    rules = cors(everyone, has_keys=False)
    with pytest.raises(ForbiddenOrigin):
        rules.check("POST", CHAT, [HOST, JSON, *fields(origin="null")])
    with pytest.raises(ForbiddenOrigin):
        rules.preflight("OPTIONS", CHAT, preflight("null"))


def test_what_asks_for_no_method_is_no_preflight():
    assert cors(APP).preflight("OPTIONS", CHAT, fields(origin=APP)) is None
    assert cors(APP).preflight("POST", CHAT, preflight()) is None
