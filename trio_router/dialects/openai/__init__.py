"""OpenAI's dialect, and Azure's."""
