"""A server for moto's buckets that injects faults of S3. No tests here."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import count
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Response
from werkzeug.wsgi import get_input_stream

Environ = dict[str, Any]


class Fault(StrEnum):
    """A fault instead of the regular response."""

    SLOW_DOWN = "503 SlowDown"
    SLOW = "slow"
    RESET = "connection reset"
    ANSWER_LOST = "done, but the connection is reset before the response"
    ANSWER_WRONG = "done, but the response is 500 InternalError"
    EXPIRED = "ExpiredToken"
    DENIED = "AccessDenied"


Rule = Callable[[int, str, str], Fault | None]
"""Returns the fault for a call's number, method and path."""

SLOW_SECONDS = 0.4

_XML = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
_ANSWERS = {
    Fault.SLOW_DOWN: (503, "SlowDown", "Please reduce your request rate."),
    Fault.ANSWER_WRONG: (500, "InternalError", "We encountered an internal error."),
    Fault.EXPIRED: (400, "ExpiredToken", "The provided token has expired."),
    Fault.DENIED: (403, "AccessDenied", "Access Denied"),
}


class FaultyS3:
    """A server of the same buckets as every other server of moto's in this process.

    Args:
        rule: decides about each call to S3, and of expired credentials also about EMR's.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.calls = 0
        self.met: Counter[Fault] = Counter()
        self._numbers = count(1)
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"http://127.0.0.1:{self._server.port}"

    @contextmanager
    def open(self) -> Iterator[FaultyS3]:
        """Serve inside the block."""
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def _answer(self, environ: Environ, start_response: Any) -> Any:
        self.calls = next(self._numbers)
        fault = self.rule(self.calls, environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if fault is None:
            return self._moto(environ, start_response)
        self.met[fault] += 1
        if fault is Fault.SLOW:
            time.sleep(SLOW_SECONDS)
            return self._moto(environ, start_response)
        if fault in {Fault.ANSWER_LOST, Fault.ANSWER_WRONG}:
            list(self._moto(environ, lambda *_: None))
        elif fault is not Fault.RESET:
            get_input_stream(environ).read()  # otherwise closing would reset the connection
        if fault in {Fault.RESET, Fault.ANSWER_LOST}:
            _reset(environ["werkzeug.socket"])
        return _error(environ, *_ANSWERS[fault])(environ, start_response)


def every(nth: int, *faults: Fault) -> Rule:
    """Every nth call gets the next of these faults."""

    def rule(number: int, _method: str, _path: str) -> Fault | None:
        return None if number % nth else faults[number // nth % len(faults)]

    return rule


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())
    raise ConnectionResetError


def _error(environ: Environ, status: int, code: str, message: str) -> Response:
    if "/s3/aws4_request" in environ.get("HTTP_AUTHORIZATION", "/s3/aws4_request"):
        text = _XML.format(code=code, message=message)
        return Response(text, status, content_type="application/xml")
    text = f'{{"__type": "{code}Exception", "message": "{message}"}}'
    return Response(text, status, content_type="application/x-amz-json-1.1")
