"""The router's life, and the configuration as a value with a lifetime.

What flows through.  `Router(config)` makes the first generation.  `async with router.running()` starts
everything that runs beside requests (alarms, lists of models, samples, the embedded provider) and ends
it.  `router.use(config)` replaces the configuration; `router.drain(grace)` ends the requests.

    router                  the life; the one object that `serve`, the ASGI app and the tests enter
    generation              everything made from one configuration: `prepare`, then `succeed`
      certificates          TLS of clients' connections
      clients               upstream clients, shared by generations while their provider is unchanged
    reload                  reading the configuration's file again, in all workers
      source                the file
      watch                 seeing that it has changed
      changes               the differences between two configurations, in words
      accepted              what all workers are to have, for those that start later
      peers                 the workers' sockets towards each other
    catalog, models         the providers' lists of models, and what clients can ask for
    observation             history, gauges, event-loop lag, spans
    embedded                the provider `demo`

Invariants.
- Everything runs in the nursery of `running`; nothing outlives it.
- A generation is complete before it is in force, and takes force in one assignment.  A configuration
  that is wrong raises before anything was changed.
- A request keeps its generation to its end.  A replaced generation is retired when its last request
  has ended; connections that another generation still uses stay open.
- One process at a time reloads.  It takes the configuration first, then the other workers take the same
  text under the same number, one after the other.  A worker takes nothing older than what it has.
- Time, random numbers and ids come from the one `Clock` that was passed in.

What it may not know: HTTP towards clients, Quart, signals.
"""
