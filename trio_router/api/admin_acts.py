"""Administrative acts: each is written down with who did it, what, and when."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from trio_router.ledger.queries import AuditEntry
from trio_router.stores.interface import StoreDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_router.api.reply import Reply
    from trio_router.api.request import ClientRequest
    from trio_router.runtime.router import Router

    # What answers an administrator, whose admin key has that name.
    AdminEndpoint = Callable[[ClientRequest, str], Awaitable[Reply]]

logger = logging.getLogger("trio_router")
NOBODY = "loopback"  # who acts where no admin key is configured


def act(router: Router, who: str, what: str, on: str, **detail: str) -> AuditEntry:
    """The entry of an act on `on` that happens now."""
    return AuditEntry(router.clock.wall(), who, what, on, detail)


def logged(entry: AuditEntry) -> None:
    """Writes an act that has happened to the log too."""
    fields = {"act": entry.act, "subject": entry.subject, "by": entry.actor}
    logger.info("an administrative act", extra={"fields": fields})


async def noted(router: Router, who: str, what: str, on: str, **detail: str) -> None:
    """Writes down an act that changes neither a key nor a team.

    A store that is down, or is not there, does not prevent the act: then it stands in the log alone.
    """
    entry = act(router, who, what, on, **detail)
    logged(entry)
    keeper = router.counting.keeper
    if keeper is None:
        return
    try:
        await keeper.store.note(entry)
    except StoreDown:
        logger.warning("an act is not in the audit log: the store is down")
