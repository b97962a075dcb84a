"""HTTP/1.1 to upstreams, as an httpx transport made for streams.

httpx's stock transport loses a pool slot when a request is cancelled while connecting, and its cost
grows with the open connections.  This one reads one piece a socket read, has a pool whose cost is
constant, and closes a connection the moment its answer is left.
"""

from trio_router.upstream_http.transport import StreamTransport

__all__ = ["StreamTransport"]
