"""The configuration: frozen values, the file they come from, the default without a file.

What flows through.  YAML, with variables of the environment, becomes a `Config`, or a list of all
complaints with their lines.

    section, schema         the sections and their keys, with defaults
    kinds                   the kinds of providers: addresses, keys, quirks
    routes                  routes, and what is only wrong beside the rest of the configuration
    access                  who may reach the router: addresses, keys, origins
    file                    the YAML file; complaints with lines
    discover                the configuration of a router that was given none

Invariants.
- A `Config` is frozen and valid.  Nobody changes it; a new configuration is a new value.
- All complaints are reported at once, each with its line and its place; none shows a secret.
- Keys are secret strings, which print as stars.

What it may not know: anything that runs.  (`discover` looks for a local Ollama.)
"""
