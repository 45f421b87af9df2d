"""A person's browser at JupyterHub: the login form, a notebook server, a kernel that runs cells."""

from __future__ import annotations

import json
import re
import ssl
import time
import uuid
from html import unescape
from pathlib import Path
from typing import Any

import requests
import websocket

from tests.infra.hub_node import START_SECONDS


class Browser:
    """Cookies of one person."""

    def __init__(self, hub: str, certificate: Path) -> None:
        self.hub = hub
        self._certificate = str(certificate)
        self._session = requests.Session()
        self._session.trust_env = False  # neither its proxies nor its certificates
        self._session.verify = self._certificate

    def open_login_page(self) -> str:
        """The page's HTML."""
        return self._session.get(f"{self.hub}/hub/login", timeout=(1, 60)).text

    def log_in(self, name: str, password: str) -> requests.Response:
        """Submit the form of the login page."""
        (token,) = set(re.findall(r'name="_xsrf"\s+value="([^"]+)"', self.open_login_page()))
        form = {"_xsrf": unescape(token), "username": name, "password": password}
        return self._session.post(f"{self.hub}/hub/login?next=", data=form, timeout=60)

    def start_server(self, name: str) -> None:
        """Start the person's notebook server and open JupyterLab, which logs in through the hub."""
        self._session.get(f"{self.hub}/hub/spawn", timeout=60).raise_for_status()
        deadline = time.monotonic() + START_SECONDS
        while True:
            page = self._session.get(f"{self.hub}/user/{name}/lab", timeout=60)
            if page.url.startswith(f"{self.hub}/user/"):
                break
            assert time.monotonic() < deadline, page.text
            time.sleep(0.5)
        page.raise_for_status()

    def call(self, method: str, path: str, content: Any = None) -> Any:
        """Call the notebook server's API like its pages do."""
        token = self._session.cookies.get("_xsrf", path=f"/{path.partition('/api/')[0]}/")
        answer = self._session.request(
            method,
            f"{self.hub}/{path}",
            json=content,
            headers={"X-XSRFToken": token or ""},
            timeout=60,
        )
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def run_notebook(self, server: str, name: str, cells: list[str]) -> list[dict[str, str]]:
        """Run cells in a new kernel; each cell's output, or its error."""
        wanted = {"path": name, "type": "notebook", "name": name, "kernel": {"name": "python3"}}
        kernel = self.call("POST", f"{server}/api/sessions", wanted)["kernel"]["id"]
        url = f"{self.hub}/{server}/api/kernels/{kernel}/channels".replace("https://", "wss://")
        request = requests.Request("GET", f"{self.hub}/{server}/")
        cookies = self._session.prepare_request(request).headers["Cookie"]
        trusted = {"ca_certs": self._certificate, "cert_reqs": ssl.CERT_REQUIRED}
        socket = websocket.create_connection(
            url, cookie=cookies, sslopt=trusted, timeout=START_SECONDS
        )
        try:
            return [_run_cell(socket, cell) for cell in cells]
        finally:
            socket.close()


def _run_cell(socket: websocket.WebSocket, cell: str) -> dict[str, str]:
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
    header |= {"session": uuid.uuid4().hex, "username": ""}
    content = {"code": cell, "silent": False, "store_history": True, "allow_stdin": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    socket.send(json.dumps(message | {"channel": "shell"}))
    output = {"text": "", "error": ""}
    while True:
        answer = json.loads(socket.recv())
        if answer["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        match answer["msg_type"], answer["content"]:
            case "stream", {"text": text}:
                output["text"] += text
            case "error", {"ename": name, "evalue": value}:
                output["error"] = f"{name}: {value}"
            case "status", {"execution_state": "idle"}:
                return output
