"""The HTTP server for clients: HTTP/1.1 and HTTP/2 over TCP and TLS.

What flows through.  `accept` takes connections off the listening sockets and gives each a seat.
`connections` tells the protocol from TLS or the first bytes.  A connection's reading task parses
requests; for each request it makes a `Link` and lets the application answer on it.

    accept, seats           listening sockets; how many connections, and which one is evicted
    service                 what all connections of one server share
    connections             `HttpServer`: TLS, which protocol
    arrived                 what a link knows of its request
    http1_connection        the HTTP/1.1 connection
      request_parser        bytes to requests, sans-IO
      http1_link            how an HTTP/1.1 answer is written
    http2_connection        the HTTP/2 connection
      http2, http2_head     frames, windows, floods; heads: sans-IO
      http2_link            how an HTTP/2 answer is written
    request_body            a request's body: how much of it may be in memory
    body_coding             what a client has compressed, made plain
    link                    the interface between a server and an application, both ways

Invariants.
- One task of each connection reads all the time, so that a client's leaving is noticed at once; it then
  cancels the request's task.  Half-closing counts as leaving.
- Memory is bounded before a key was checked: heads, bodies, pipelined requests, windows, frames.
- A write blocks only its own answer.  A client that takes nothing for `stall` seconds is given up.
- Bad input never raises: it becomes a status, or the end of the stream or connection.
- A closed connection leaves nothing to the cyclic garbage collector.

What it may not know: endpoints, keys, models, JSON.  An application is anything that answers a `Link`.
"""
