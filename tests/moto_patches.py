"""Patches of moto: conditional writes as in S3, and a faster server. No tests here."""

from __future__ import annotations

import functools
import threading
from typing import Any

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
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


def find_backends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep which of moto's services a host name belongs to.

    moto lists the folders of its package for each request.
    """
    find = functools.cache(DomainDispatcherApplication.get_backend_for_host)
    monkeypatch.setattr(DomainDispatcherApplication, "get_backend_for_host", find)
