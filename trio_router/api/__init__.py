"""The API: which endpoint answers a request, what it checks, what it asks the relay for.

What flows through.  A server's `Link` (or an ASGI scope) becomes a `ClientRequest`: its record, its
nursery, its exchange.  The endpoint for its method and path checks the key and the body, makes a
`Call`, hands it to the exchange and returns a `Reply`; the request then writes the reply to the link.

    request, reply          one request's life; an answer before it is sent
    table                   which endpoint answers which method and path; 404 and 405
    paths                   the paths that clients write, put right
    app                     the application: its table, for every server below it
    endpoints               chat completions, the other APIs of clients, models, health
    google                  Gemini's API, whose paths hold the model
    sides                   embeddings, counting tokens
    passing, upload         what passes through unchanged: audio, images, files, forms
    front                   `/`
    metrics_side            `/metrics`, here or on its own listener
    asgi                    adapter to a foreign ASGI server, through Quart

Invariants.
- The table has every endpoint.  Whatever serves asks it, and all errors go through `ClientRequest`.
- A request's key is checked before its body is read.
- Each request has its tasks.  When the client leaves, they are cancelled, and everything that
  the request has opened is closed.
- Every error that a client sees is a `RouterError`, in the shape of the API that was asked.  Anything
  else is our own fault: logged in full, answered with 500 and the request id.
- The request is booked once, after its tasks have ended.

What it may not know: sockets and framing, which provider is asked, how an answer is translated.
"""
