"""Taking our own credentials out of what a provider says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECRET = 8  # characters: a shorter value of a header is no secret, except a credential's
_SHORTEST = 4  # characters of the shortest key
_CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})


def without_secrets(message: str, headers: Mapping[str, str]) -> str:
    """`message` with stars in place of the secrets in `headers`, which were sent to the provider."""
    for name, secret in headers.items():
        bare = secret.rpartition(" ")[2]
        if len(bare) >= _SECRET:
            # A provider that hides the middle of a key still shows how it begins.
            begun = re.escape(bare[:_SECRET]) + r"[^\s\"'`,;)\]}<]*"
            message = re.sub(begun, "***", message.replace(bare, "***"))
        elif name in _CREDENTIALS and len(bare) >= _SHORTEST:
            message = message.replace(bare, "***")
    return message
