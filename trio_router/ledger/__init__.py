"""Who may spend what: keys, teams, limits, budgets, and the ledger's rows.  Pure.

What flows through.  A key's hash comes in, and a request's size; ceilings come out, which a store takes
in one step (`trio_router/stores`), and a row, which says what the request cost.

    accounts                keys and teams, what they may ask for, their limits and budgets
    windows                 a day, a week or a month of a budget, in its time zone
    ceilings                what one request takes, and what a store answers to that
    sliding                 a minute that slides
    rows                    one row a request: reserved, then settled or expired
    queries                 what can be asked of rows
    holds                   what a request is held for before anybody knows what it costs
    purse                   what one worker took from the store in advance, and spends by itself

Invariants.
- The time is passed in; nothing waits, nothing is read.
- Money is in integer nano-dollars, from the hold to the invoice.
- A budget's window is a part of its counter's name, so nothing ever resets a counter.
- What a worker holds ends with the worker's lease; what a minute has counted leaves by itself.

What it may not know: requests as objects, sockets, databases.
"""
