"""The beginning of a request that uploads a file to be transcribed."""

from __future__ import annotations

from tests.api.uploads import part

TRANSCRIPTIONS = "/v1/audio/transcriptions"
MODEL = part("model", b"open/whisper")
START = MODEL + part("file", b"", "a").removesuffix(b"\r\n")  # and then the file
