"""TLS of clients' connections."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_router.config.schema import ServerConfig


def tls_context(server: ServerConfig) -> ssl.SSLContext | None:
    """A context with the configured certificate; None without TLS.

    Raises OSError (ssl.SSLError is one) if the certificate or its key cannot be used.
    """
    if server.certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server.certfile, server.keyfile)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
