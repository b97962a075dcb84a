"""The configuration: its schema, its file, and what is used without one."""
