"""Time and chance: the one `Clock` that is passed in, and the alarms of the event loop.

    clock                   wall time, monotonic time, random numbers, random bytes
    alarms                  callbacks at a time that often moves; one task for all of them

Invariants.
- No other room reads a clock or a source of random numbers: they are passed a `Clock`.
- An alarm's callback runs in the clock's task and neither waits nor raises.
"""
