"""HTTP/1.1 to upstreams, made for streams."""

from trio_router.transport.transport import PreparedPost, StreamTransport, TransportResponse

__all__ = ["PreparedPost", "StreamTransport", "TransportResponse"]
