"""What models cost, as the configuration says it."""

from __future__ import annotations

import difflib
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from trio_router.config.kinds import embedded_in
from trio_router.config.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    Complaint = tuple[tuple[str | int, ...], str]


def _is_number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number of dollars")
    return value


Dollars = Annotated[
    Decimal,
    BeforeValidator(_is_number),
    Field(ge=0, le=1_000_000, decimal_places=9, allow_inf_nan=False),
]


class PriceConfig(Section):
    """US dollars: for a million tokens, if nothing else is said.

    What is left out costs what it is a kind of: cached input costs as input, thinking as output.
    """

    input: Dollars
    output: Dollars
    cached_input: Dollars | None = None  # what is read from the provider's cache
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None
    audio_input: Dollars | None = None
    audio_output: Dollars | None = None
    reasoning: Dollars | None = None
    image: Dollars | None = None  # for one picture that is made
    searches: Dollars | None = None  # for a thousand web searches, or searches of a rerank
    request: Dollars | None = None  # for each request, beside its tokens


def price_complaints(config: dict[str, Any]) -> Iterator[Complaint]:
    """Complaints about prices of models that nobody can ask for, each with its place."""
    providers = _mapping(config.get("providers"))
    known = [f"{p}/{m}" for p, s in providers.items() for m in _mapping(_mapping(s).get("models"))]
    embedded = embedded_in(_mapping(config.get("server")))
    routes = _mapping(config.get("routes"))
    for name in _mapping(config.get("prices")):
        provider, _, model = str(name).partition("/")
        settings = _mapping(providers.get(provider))
        takes_any = settings.get("models") is None or settings.get("pass_through")
        if name in routes:
            yield ("prices", name), f"{name} is a route; prices are of provider/model"
        elif model and (provider in embedded or name in known):
            continue
        elif not (model and provider in providers and (takes_any or model == "*")):
            yield ("prices", name), _unknown(str(name), known, list(providers))


def _unknown(name: str, known: list[str], providers: list[str]) -> str:
    near = [] if name.endswith("/*") else difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not near:
        found = difflib.get_close_matches(name.partition("/")[0], providers, n=1, cutoff=0.5)
        near = [f"{provider}/*" for provider in found]
    return f"there is no model {name}" + (f"; did you mean {near[0]}?" if near else "")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
