"""The whole router in one process under a virtual clock, by seed.

    seed -> generate -> WorldPlan -> World -> (history, what each side saw) -> judge -> failures

A `WorldPlan` is plain data: the routers' configuration, providers with what they do about each request,
clients with what they ask and how they behave, operators.  A `World` runs it: real routers
(`machine`) between providers and clients that are actors of a `stage`, joined
by a `network` that does what networks do.  Afterwards `cases` puts together what each side saw of each
request, and each function of the `judge_...` files checks one promise.

Nothing here is known to the router.  What is replaced: sockets, names, the clock, random, threads.
What decides anything comes from the seed (`chance`), never from hashes, ids or the machine; so the same
seed gives the same history, to the byte, on every Python.  See `docs/simulation.md`.
"""
