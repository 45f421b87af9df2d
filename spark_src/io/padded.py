"""Reads from S3 that are never short, as pyarrow fails on short ones instead of repeating them.

Its AWS library writes the text of an error where the answer was to go. Where that is too little
room, the call fails with INTERNAL_FAILURE: it is not repeated, and what S3 had said is lost.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

import pyarrow as pa

LEAST_BYTES = 4096
"""Of a read, unless the file has fewer: S3's errors have some hundreds."""


class PaddedFile:
    """A file as pyarrow reads it, which asks for no less than `LEAST_BYTES` at once."""

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
        """What pyarrow calls: nothing is copied."""
        left = max(self._size - self._position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return pa.py_buffer(b"")
        start = max(min(self._position, self._size - LEAST_BYTES), 0)
        start = self._position if wanted >= LEAST_BYTES else start
        self._file.seek(start)
        found = self._file.read_buffer(max(wanted, LEAST_BYTES))
        skipped = self._position - start
        self._position += wanted
        return found.slice(skipped, wanted)
