"""The smoke test's cell runs through Livy over HTTPS with the certificate of infra/commands."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.infra.conftest import Machine
from tests.infra.module import PROJECT

PROGRAM = PROJECT / "infra" / "cluster" / "livy_cell.py"


class Livy(BaseHTTPRequestHandler):
    """A stand-in for Livy: a session is ready at the second look; a cell runs in this process."""

    server: LivyServer

    def do_GET(self) -> None:
        if "statements" in self.path:
            self._answer({"state": "available", "output": self.server.output})
            return
        self.server.looks += 1
        self._answer({"state": "idle" if self.server.looks > 1 else self.server.first_state})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "code" in request:
            try:
                exec(request["code"], {})  # noqa: S102 - the test's own code
                self.server.output = {"status": "ok"}
            except Exception as error:  # noqa: BLE001 - reported as Livy does
                self.server.output = {"status": "error", "ename": type(error).__name__}
        self._answer({"id": 7})

    def do_DELETE(self) -> None:
        self.server.deleted.append(self.path)
        self._answer({"msg": "deleted"})

    def _answer(self, content: Any) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class LivyServer(ThreadingHTTPServer):
    """The stand-in's state."""

    looks = 0
    first_state = "starting"
    output: dict[str, str]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Livy)
        self.deleted: list[str] = []


@pytest.fixture
def livy(made: Machine) -> Iterator[LivyServer]:
    """Livy with the cluster's own certificate."""
    kept = made.root / "kept.zip"
    made.program("aws", f'[[ "$*" != *"s3 cp"* ]] || cp "${{@: -2:1}}" "{kept}"')
    code, output = made.run("infra/commands/certificates", "--renew")
    assert code == 0, output
    zipfile.ZipFile(kept).extractall(made.root)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.root / "certificateChain.pem", made.root / "privateKey.pem")
    server = LivyServer()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def run(livy: LivyServer, cell: str) -> subprocess.CompletedProcess[str]:
    url = f"https://127.0.0.1:{livy.server_port}"
    command = [sys.executable, "-c", PROGRAM.read_text(), url, cell]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(("cell", "code"), [("assert 2 > 1", 0), ("1 / 0", 1)])
def test_a_cell_is_run_and_its_session_deleted(livy: LivyServer, cell: str, code: int) -> None:
    done = run(livy, cell)
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout) == livy.output
    assert livy.deleted == ["/sessions/7"]


def test_a_session_that_cannot_start_is_reported(livy: LivyServer) -> None:
    livy.first_state = "dead"
    done = run(livy, "assert 2 > 1")
    assert done.returncode == 1
    assert "/sessions/7 is dead" in done.stderr
    assert livy.deleted == ["/sessions/7"]
