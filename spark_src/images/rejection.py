"""Why a file is rejected, and the limits by which it is judged. Nothing is read here."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Reason(enum.StrEnum):
    """Reason codes of the rejected ledger."""

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
"""Reasons that may be gone at the next look though the file has not changed."""


@dataclass(frozen=True)
class Limits:
    """The largest file accepted, in bytes, the largest picture, and what is kept of one.

    By default what a 50-megapixel phone makes (8192 x 6144) is accepted, so that no file takes a
    worker of ingest over 600 MB (500 MB of JPEG and PNG).
    """

    max_bytes: int = 50 * 2**20
    max_pixels: int = 52_000_000
    """Width x height."""
    max_side: int = 1024
    """Larger pictures are kept at a smaller scale: see `spark_src.images.reduce`."""


class PictureRejected(ValueError):
    """The file is not accepted; `detail` is a sentence for the person who supplied it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
