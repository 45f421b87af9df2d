"""Retries of calls that the libraries do not retry themselves; `aws.py` sets their own retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

NO_RESPONSE = "error sending request"
"""delta-rs's message if there was no response."""

_SHORT_FILE = "Failed to flush response stream"
"""pyarrow's message if the error's text is longer than the file: see `padded.py`."""

_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.2

T = TypeVar("T")


def repeat(attempt: Callable[[], T]) -> T:
    """Retry delta-rs's commit or delete without a response, and pyarrow's read of a tiny file.

    Args:
        attempt: must be able to detect that an earlier try succeeded without a response.
    """
    # Imported late: `fruits path` on a disk does not need it.
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

    attempts = Retrying(
        retry=retry_if_exception(_is_transient),
        wait=wait_exponential(multiplier=_FIRST_PAUSE_SECONDS),
        stop=stop_after_attempt(_ATTEMPTS),
        reraise=True,
    )
    return attempts(attempt)


def _is_transient(error: BaseException) -> bool:
    text = str(error)
    unanswered = NO_RESPONSE in text and " retries" not in text
    return isinstance(error, OSError) and (unanswered or _SHORT_FILE in text)
