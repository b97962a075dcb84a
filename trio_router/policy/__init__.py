"""Who may ask: clients' keys and administrators' keys.

Decisions are pure: values in, a name or an error out.  The room knows the configuration and the errors,
and nothing of requests, sockets or time that it is not given.
"""
