"""The middle: the one room that moves bytes between an upstream and a client.

What flows through.  An endpoint makes a `Call` (what to ask, how to translate the answer) and hands it
to the request's `Exchange`.  The exchange asks one target, or walks along a route:

    Exchange.stream / whole     one request: admission, the task that moves the answer, its end
      RouteRun                  a route: targets one after another (`Race`: two at once)
        Attempt                 one target: open, read, close, all in one task under one `Watchdog`
          UpstreamClient        one provider: request heads, the slot, the transport
          Translator            bytes in, the client's frames out (`dialects`, pure)
      StreamRun                 the bounded channel from the upstream's task to the client's

Files: `engine` is all of the router that an exchange may touch; `books` keeps outcome and record;
`call`, `side_calls`, `google_sides`, `counting`, `resume` are the kinds of call; `passage` moves what
passes through unchanged; `sinks` hold a route's frames back or pass them on; `gate` and `heavy` bound
work.

Invariants.
- An upstream is opened, read and closed by one task, inside one `with`.  So cancelling that task is
  all it takes to release the upstream.
- That task runs in the request's nursery, so that it ends when the client leaves.  With
  `on_disconnect: drain` it runs in the engine's nursery instead, with a deadline.
- Nothing reaches the client before the first event with content (the commit).  Before the commit a
  failure is an HTTP status, and a route may retry it; after the commit it is an event in the stream.
- A chunk is one read of the upstream and at most one item of the channel.  It passes no thread, and no
  second task unless the client is slow.
- A request is booked exactly once, whatever ends it.  The first outcome stays.  A client that left is
  an outcome, never an upstream's failure.
- An exchange keeps the `Upstreams` (clients, target states) that it began with.

What it may not know: HTTP on the client's side, Quart, keys of clients, files of configuration, and
which provider speaks which dialect.  It decides nothing about targets: `routing` does, from values.
"""
