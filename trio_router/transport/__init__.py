"""The client of HTTP/1.1 to upstreams, made for long streams; also an httpx transport.

What flows through.  `StreamTransport.post` (a request's head comes from a prepared template) or
`.send` takes a slot in the pool, an idle connection or a new one, writes the request, reads the
response's head, and returns a `TransportResponse`, whose body gives one item for each read of the
socket.

    transport               the pool, the connection and the round trip put together; one retry if stale
      pool                  idle connections and slots; pure bookkeeping, every step in constant time
      dial, names, proxy    opening: the name, TCP, a proxy's tunnel, TLS
      round_trip            one request and one response on one connection
        http1               the same as bytes: heads, framing, parsing; no IO
      body                  the response's body; returns or closes the connection when it ends
      sockets               `Wire`: one interface over plain sockets and trio streams
    faults                  which faults a retry would meet again
    credentials             tokens that are fetched and renewed, and signatures of each request
      aws, google, entra    where AWS's, Google's and Azure's come from
    addresses               addresses as text

Invariants.
- A connection holds a slot from before it is opened until it is closed.  Waiters are served in order.
- On cancel, wherever it comes, the connection is closed at once and its slot is free.
- A connection returns to the pool only after a response that was complete and clean.
- A POST is sent a second time only if a kept connection proved dead before any byte of the response.
- Nothing waits between a read of the socket and the reader: no buffer, no task, no decompression.
- Nothing of it is left to the cyclic garbage collector.

What it may not know: models, dialects, retries, keys.  It raises httpx's exceptions; the relay
translates them.
"""

from trio_router.transport.transport import PreparedPost, StreamTransport, TransportResponse

__all__ = ["PreparedPost", "StreamTransport", "TransportResponse"]
