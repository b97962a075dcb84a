"""An LLM router: exact streams, honest ends, released the moment the reader leaves."""

__version__ = "0.1.0"
