"""Who may ask: clients' keys, administrators' keys, web pages.

What flows through.  A request's head comes in as values (headers, addresses); a key's name or an error
goes out.

    keys                    clients' bearer keys
    admins                  admin keys, and the dashboard's cookie
    guesses                 wrong keys, counted for each address
    origins                 Host, Origin, content types, CORS

Invariants.
- Decisions are pure: the time is passed in, nothing waits.
- Every key is compared with every configured key, in constant time.
- No key appears in an error, a log line or a metric; keys are known by their names.

What it may not know: requests as objects, sockets, Quart, models and providers.
"""
