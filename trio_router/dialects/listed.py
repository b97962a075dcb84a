"""Models as their providers list them, and as clients are told of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model as its provider lists it.  `created` is in Unix seconds, 0 if it is not told.

    `context` and `output` are the most tokens of a request with its answer, and of an answer; 0 if that
    is not told.  `abilities` are some of `tools`, `vision`, `thinking`; none is told of where unknown.
    """

    id: str
    created: int = 0
    title: str = ""
    context: int = 0
    output: int = 0
    abilities: tuple[str, ...] = ()


class ModelListing(Protocol):
    """How a provider tells which models it has, page by page."""

    def path(self, mark: str | None) -> str:
        """Of the page that `mark` stands for, None for the first; appended to the base URL."""
        ...

    def read(self, page: Any) -> tuple[list[ListedModel], str | None]:
        """A page's models, and the mark of the next page; what has another shape gives none."""
        ...


class ModelTeller(Protocol):
    """How clients of one API are told of models, whose ids are `provider/model` then."""

    def model(self, model: ListedModel) -> dict[str, Any]: ...

    def models(self, models: Sequence[ListedModel]) -> dict[str, Any]: ...
