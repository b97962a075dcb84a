"""TLS of clients' connections."""

from __future__ import annotations

import hashlib
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

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


def certificate_files(server: ServerConfig) -> list[Path]:
    """The files that hold the certificate and its key."""
    return [path for path in (server.certfile, server.keyfile) if path is not None]


def marks_of(files: list[Path]) -> tuple[str, ...]:
    """A digest of each of `files`, other than before if a file has changed; empty if unreadable."""
    return tuple(_mark_of(path) for path in files)


def _mark_of(path: Path) -> str:
    try:
        return mark_of(path.read_bytes())
    except OSError:
        return ""


def mark_of(content: bytes) -> str:
    """The digest of a file's content."""
    return hashlib.sha256(content).hexdigest()
