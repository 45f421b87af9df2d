"""Pads short reads from S3, for which pyarrow's error handling does not work.

pyarrow's AWS library writes an error response into the buffer for the data. If the buffer is too
small, the call fails with INTERNAL_FAILURE: it is not retried, and S3's message is lost.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import pyarrow as pa

MIN_READ_BYTES = 4096
"""Minimum size of a read, unless the file is smaller. S3's error responses have a few hundred."""


class PaddedFile:
    """A pyarrow file that reads at least `MIN_READ_BYTES` per call."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file, self._size, self._position = file, file.size(), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def close(self) -> None:
        self._file.close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        return bytes(self.read_buffer(size))

    def read_buffer(self, size: int | None = -1) -> pa.Buffer:
        """Read without a copy; called by pyarrow."""
        available = max(self._size - self._position, 0)
        wanted = available if size is None or size < 0 else min(size, available)
        if not wanted:
            return pa.py_buffer(b"")
        start = max(min(self._position, self._size - MIN_READ_BYTES), 0)
        start = self._position if wanted >= MIN_READ_BYTES else start
        self._file.seek(start)
        found = self._file.read_buffer(max(wanted, MIN_READ_BYTES))
        skipped = self._position - start
        self._position += wanted
        return found.slice(skipped, wanted)
