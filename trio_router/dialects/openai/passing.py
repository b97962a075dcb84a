"""Where OpenAI's other endpoints are: audio, images, moderations, files."""

from __future__ import annotations

from trio_router.wire.names import path_segment


class OpenAIPassing:
    def passing_path(self, path: str, model: str) -> str:
        return path


class AzurePassing:
    """Azure's OpenAI service: below the deployment, where there is one."""

    def passing_path(self, path: str, model: str) -> str:
        if not model:
            return f"/openai{path}"
        return f"/openai/deployments/{path_segment(model)}{path}"
