"""Rejection reasons and size limits."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Reason(enum.StrEnum):
    """Reason codes in `rejected_images`."""

    EMPTY_FILE = "empty_file"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_AN_IMAGE = "not_an_image"
    UNSUPPORTED_FORMAT = "unsupported_format"
    ANIMATED = "animated"
    SEVERAL_PAGES = "several_pages"
    TRUNCATED = "truncated"
    BROKEN = "broken"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    LINK = "link"
    NOT_A_FILE = "not_a_file"


TRANSIENT = frozenset({Reason.UNREADABLE, Reason.VANISHED})
"""Reasons that may not apply on the next run, even if the file has not changed."""


@dataclass(frozen=True)
class Limits:
    """Size limits of accepted files and pictures, and of the stored picture.

    The defaults accept photos of a 50-megapixel phone (8192 x 6144). An ingest worker then needs at
    most 600 MB for any file (500 MB for JPEG and PNG).
    """

    max_bytes: int = 50 * 2**20
    max_pixels: int = 52_000_000
    """Width x height."""
    max_side: int = 1024
    """Larger pictures are scaled down: see `spark_src.images.reduce`."""


class PictureRejected(ValueError):
    """The file is not accepted; `detail` is a sentence for the user who supplied it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
