"""The providers' own lists of models: fetched on demand, cached for a while."""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_router.dialects.provider_error import status_error
from trio_router.errors import RouterError
from trio_router.relay.client import PassingRequest
from trio_router.relay.heavy import in_slices
from trio_router.wire.jsoncodec import JSONError, is_heavy, loads
from trio_router.wire.names import name_complaint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio_router.dialects.base import ListedModel, ModelListing
    from trio_router.relay.client import UpstreamClient
    from trio_router.routing.target import Target

logger = logging.getLogger("trio_router")
_PATIENCE = 3.0  # s that a provider may take for its list
_FRESH = 300.0  # s that a list is kept
_RETRY = 30.0  # s after a failure until the provider is asked again
_PAGE = 1 << 23  # bytes of a page
_PAGES = 20


class _List:
    """The known models of one provider.  At `until` it is asked again."""

    def __init__(self) -> None:
        self.models: Sequence[ListedModel] = ()
        self.until = -math.inf
        self.coming: trio.Event | None = None


class Catalog:
    """The lists of all providers.  It fetches only while `run` runs.

    A task of `run` fetches a list once for all callers that wait for it; any of them may leave.
    """

    def __init__(self) -> None:
        self._lists: dict[str, _List] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fetches lists for whoever asks for them, until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def known(self) -> dict[str, Sequence[ListedModel]]:
        """The last known list of each provider; asks nobody."""
        return {provider: known.models for provider, known in self._lists.items()}

    def forget(self, providers: Iterable[str]) -> None:
        """Drops the lists of providers that are gone, or whose names mean other providers now."""
        for provider in providers:
            self._lists.pop(provider, None)

    async def lists(
        self, asked: Iterable[tuple[Target, UpstreamClient]]
    ) -> dict[str, Sequence[ListedModel]]:
        """The lists; for a provider that does not answer in time, the last known one."""
        providers = [(self._list(target, client), target.provider) for target, client in asked]
        for known, _ in providers:
            if known.coming is not None:
                await known.coming.wait()
        return {provider: known.models for known, provider in providers}

    def _list(self, target: Target, client: UpstreamClient) -> _List:
        known = self._lists.setdefault(target.provider, _List())
        listing = target.dialect.listing
        is_due = known.coming is None and trio.current_time() >= known.until
        if is_due and self._nursery is not None and listing is not None:
            known.coming = trio.Event()
            self._nursery.start_soon(self._refresh, known, listing, target, client)
        return known

    async def _refresh(
        self, known: _List, listing: ModelListing, target: Target, client: UpstreamClient
    ) -> None:
        failure = "timeout"
        try:
            with trio.move_on_after(_PATIENCE):
                known.models = await fetch_list(listing, target, client)
                failure = ""
        except RouterError as error:
            failure = error.code
        except Exception:
            logger.exception("a list of models failed")
            failure = "internal_error"
        finally:
            coming, known.coming = known.coming, None
            if coming is not None:
                coming.set()
        known.until = trio.current_time() + (_RETRY if failure else _FRESH)
        if failure:
            fields = {"provider": target.provider, "reason": failure}
            logger.info("no list of models", extra={"fields": fields})


async def fetch_list(
    listing: ModelListing, target: Target, client: UpstreamClient
) -> Sequence[ListedModel]:
    """All that `target`'s provider lists.  Raises RouterError."""
    found: dict[str, ListedModel] = {}
    mark: str | None = None
    base_url = target.dialect.listing_base(target.base_url)
    for _ in range(_PAGES):
        request = PassingRequest("GET", listing.path(mark), takes_slot=False, base_url=base_url)
        with await client.send(target, request, request_id="models") as answer:
            body = bytearray()
            async for data in answer:
                body += data
                if len(body) > _PAGE:
                    raise RouterError("the list of models is too large", code="too_large")
            if answer.status != 200:
                code = f"upstream_{answer.status}"
                told = status_error(target.provider, answer.status, bytes(body), None)
                raise RouterError(told.message, code=code)
        try:
            page = loads(body) if not is_heavy(body) else await in_slices(partial(loads, body))
            models, mark = listing.read(page)
        except JSONError:
            raise RouterError("the list of models is no JSON", code="malformed_json") from None
        # Invalid names cannot be asked for, and could forge lines where they are written.
        found |= {model.id: model for model in models if not name_complaint(model.id)}
        if mark is None:
            break
    return tuple(found.values())
