"""Reading HTTP/1.1 answers as strictly as the protocol allows; no code of the product's."""

from __future__ import annotations


class AnswerParser:
    """Bytes -> one answer.  `fault` says what was wrong with its framing; `rest` came after it."""

    def __init__(self, *, is_head: bool = False) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.is_done = False
        self.fault = ""
        self.size = 0  # bytes of it so far
        self._is_head = is_head
        self._data = bytearray()
        self._has_head = False
        self._left = -1  # bytes of a body of known length that are missing
        self._is_chunked = False
        self._is_last = False  # the last chunk has come

    @property
    def has_begun(self) -> bool:
        return self._has_head or bool(self._data)

    @property
    def rest(self) -> bytes:
        return bytes(self._data)

    def feed(self, data: bytes) -> None:
        self.size += len(data)
        self._data += data
        while not self._has_head and not self.fault:
            if not self._read_head():
                return
        if self.is_done or self.fault:
            return
        if self._is_chunked:
            while self._read_chunk():
                pass
        elif self._left >= 0:
            self._take(min(self._left, len(self._data)))
            self.is_done = self._left == 0
        else:
            self._take(len(self._data))

    def feed_eof(self) -> None:
        """The connection has ended."""
        if self._has_head and not self._is_chunked and self._left < 0:
            self.is_done = True

    def _take(self, size: int) -> None:
        self.body += self._data[:size]
        del self._data[:size]
        if self._left >= 0:
            self._left -= size

    def _read_head(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = bytes(self._data[:end]).split(b"\r\n")
        del self._data[: end + 4]
        if not first.startswith(b"HTTP/1.1 ") or not first[9:12].isdigit():
            self.fault = f"no status line: {first[:40]!r}"
            return False
        self.status = int(first[9:12])
        if self.status < 200:
            return True
        self._read_fields(lines)
        self._has_head = True
        if self._is_head or self.status in (204, 304):
            self.is_done = True
        return True

    def _read_fields(self, lines: list[bytes]) -> None:
        for line in lines:
            name, colon, value = line.partition(b":")
            key = name.decode("latin-1").lower()
            if not colon or key in self.headers:
                self.fault = f"a field that is none, or twice: {line[:60]!r}"
            self.headers[key] = value.strip().decode("latin-1")
        self._is_chunked = self.headers.get("transfer-encoding") == "chunked"
        if "content-length" in self.headers:
            self._left = int(self.headers["content-length"])
            if self._is_chunked:
                self.fault = "both a length and chunks"
            self.is_done = self._left == 0

    def _read_chunk(self) -> bool:
        end = self._data.find(b"\r\n")
        if end < 0 or self.is_done or self.fault:
            return False
        try:
            size = int(bytes(self._data[:end]), 16)
        except ValueError:
            self.fault = f"no chunk: {bytes(self._data[:40])!r}"
            return False
        if len(self._data) < end + 2 + size + 2:
            return False
        if self._data[end + 2 + size : end + 4 + size] != b"\r\n":
            self.fault = "a chunk that is not as long as it says"
            return False
        self.body += self._data[end + 2 : end + 2 + size]
        del self._data[: end + 4 + size]
        self.is_done = size == 0
        return size > 0
