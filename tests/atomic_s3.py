"""Conditional writes of moto's S3, atomic like those of S3. No tests here."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from moto.s3.responses import S3Response


def make_writes_atomic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one request at a time check `If-None-Match` or `If-Match`, and write.

    moto's server has several threads, and its check and its write are two steps: of two
    simultaneous requests both may get 200, and the later overwrites the earlier one's object.
    S3 answers one of them with 412 or 409.
    """
    lock = threading.Lock()

    def serialize(name: str) -> None:
        method = getattr(S3Response, name)

        def respond(self: S3Response, *arguments: Any) -> Any:
            with lock:
                return method(self, *arguments)

        monkeypatch.setattr(S3Response, name, respond)

    for name in ("put_object", "_key_response_post", "delete_object"):
        serialize(name)
