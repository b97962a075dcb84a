"""Decisions: what a model name means, which target answers a request, when to retry.  Pure.

What flows through.  A name becomes a `Target` (one model of one provider) or a `Route` (several
targets) in the `table`; a route whose name has a star is made for each name that it matches.  For a
route, the `fleet` orders the targets (`balance`) and knows their health; a `Plan` then answers one
question again and again: given these failures, what is the next step?  The relay makes the attempt and
reports how it went.

    table, target, route    names -> targets with all their settings
    fleet                   what is remembered from request to request, over one configuration's targets
      circuit, rest         may the target be asked: failures and cooldown; the provider's Retry-After
      latency, balance      how fast it is, and the order that follows
      keys                  the same for each API key of a provider
      affinity              where the requests of one conversation go
    plan                    one request's way along the targets: `next`, `failed`, `torn`, `error`
      retry                 what a failure means: retry, next target, or the client's error; backoff
    hedge                   when a second target is asked, and how often
    replay                  compares another target's answer with what was sent already
    admission               a limit and a queue, without the waiting
    explain                 a route in words, for `trio-router check`

Invariants.
- No IO, no clock, no random numbers: the time, the Unix time and a random function are arguments.  The
  same calls with the same arguments give the same decisions, so every rule can be tested without
  waiting.
- Every visit that begins is left, every probe has a result or is given up, every retry and hedge is
  taken from a budget: a plan always ends, and an outage is not multiplied.
- A result counts for the time at which its request began.  A late failure of an old request does not
  open a circuit that a newer request has closed.
- What is unchanged in a new configuration keeps its state: `Fleet` takes it over from the one before.

What it may not know: trio, sockets, HTTP clients, the request's body and the answer's content (but for
`replay`, which compares chunks in the hub's shape), and metrics.
"""
