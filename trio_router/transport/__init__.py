"""HTTP/1.1 to upstreams, made for streams."""

from trio_router.transport.transport import StreamTransport

__all__ = ["StreamTransport"]
