"""The file that the configuration comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trio_router.config.access import NO_KEYS
from trio_router.config.file import ConfigError, parse_config, read_text
from trio_router.wire.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trio_router.config.schema import Config


@dataclass(frozen=True, slots=True)
class Source:
    """A configuration's file, and what was said beside it when the process started.

    `path` is as it was given; `text` is what the file held then.  `host` is the address that was given
    instead of the configuration's.  `fixed` names the settings that the command line gave, such as
    `server.port`: the file's values do not count.  `certificate` has the marks of the certificate's
    files as all workers are to have them; None is as this process found them.
    """

    path: Path
    text: str
    environ: Mapping[str, str] = field(repr=False)
    host: str | None = None
    fixed: frozenset[str] = frozenset()
    certificate: tuple[str, ...] | None = None

    def read(self) -> str:
        """The file's text now.  Raises ConfigError."""
        return read_text(self.path)

    def parse(self, text: str, listens_on: str) -> Config:
        """The configuration in `text`, for a process that listens on an address already.

        An empty file is a good configuration for a start.  Here it is refused: more likely a program
        is writing the file, and all keys would be gone.  Raises ConfigError.
        """
        if not text.strip():
            raise ConfigError([f"{self.path}: the file is empty"])
        config = parse_config(text, self.environ, str(self.path), self.host)
        if not config.auth.keys and not is_loopback(listens_on):
            raise ConfigError([f"{self.path}: the router listens on {listens_on!r}: it {NO_KEYS}"])
        return config
