"""HTTP/1.1 to upstreams, made for streams."""

from trio_router.transport.transport import Answer, PreparedPost, StreamTransport

__all__ = ["Answer", "PreparedPost", "StreamTransport"]
