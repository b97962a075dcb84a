"""Routes and targets as a configuration gives them, for the parts of the routing alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_router.config.file import parse_config
from trio_router.routing.fleet import Fleet
from trio_router.routing.table import RouteTable

if TYPE_CHECKING:
    from trio_router.routing.route import Route

PROVIDERS = """
providers:
  a: {base_url: "http://a", models: {x: {}}}
  b: {base_url: "http://b", models: {y: {}}}
  c: {base_url: "http://c", models: {z: {}}}
"""
TARGETS = "targets: [{model: a/x}, {model: b/y}, {model: c/z}]"


def table(routes: str = "", providers: str = PROVIDERS) -> RouteTable:
    """`routes` is what stands in the braces of `routes`."""
    return RouteTable(parse_config(f"routes: {{{routes}}}\n{providers}", {}))


def route(settings: str = TARGETS, providers: str = PROVIDERS) -> Route:
    """A route; `settings` is what stands in its braces."""
    return table(f"r: {{{settings}}}", providers).routes["r"]


def fleet(*routes: Route, before: Fleet | None = None) -> Fleet:
    return Fleet(routes, before)
