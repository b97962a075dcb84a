"""What is wrong with a configuration."""

from __future__ import annotations

import pytest

from trio_router.config.file import ConfigError, parse_config


def complaints(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, environ, "router.yaml")
    return caught.value.complaints
