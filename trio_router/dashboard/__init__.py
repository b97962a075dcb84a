"""The dashboard: what the page shows, how it is fed, its endpoints and its files.

What flows through.  Once a second a `Scene` (running requests, history, targets) becomes a message for
each watcher, with only what has changed; it goes out as a server-sent event.

    pages                   the endpoints: page, event stream, login, stop
    feed                    the beat of one second, for this process and the other workers
    view                    what one watcher is told next; pure
    static                  the page: plain files, no build step

Invariants.
- It costs nothing while nobody watches.  A slow watcher misses messages and delays nobody.
- No prompt or answer is shown, and no text from outside is interpreted as HTML.
- With keys configured it needs an admin key; without keys it answers on loopback only.
- The page asks nobody but the router.

What it may not know: how requests are served.  It reads records, and may abort a request.
"""
