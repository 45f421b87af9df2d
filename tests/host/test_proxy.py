"""The proxy in front of Dagster's UI requires a password and refuses cross-site requests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.host.postgres import free_port
from tests.host.team_host import HOST, TeamHost
from tests.programs import program

USER, PASSWORD = "anna", "correct horse"
QUERY = {"query": "{ version }"}
START = 'mutation { startSensor(sensorSelector: {sensorName: "x"}) { __typename } }'


class Proxy:
    """nginx with the repository's config on a free port, in front of a test server."""

    def __init__(self, folder: Path, webserver_port: int) -> None:
        self.port = free_port()
        hashed = ["openssl", "passwd", "-6", PASSWORD]
        digest = subprocess.run(hashed, check=True, capture_output=True, text=True).stdout
        (folder / "users").write_text(f"{USER}:{digest}")
        (folder / "users").chmod(0o644)
        own = {
            " /tmp/": f" {folder}/",
            "listen 8080": f"listen 127.0.0.1:{self.port}",
            "):3000$": f"):{self.port}$",
            "http://webserver:3000": f"http://127.0.0.1:{webserver_port}",
            "/run/secrets/ui_users": str(folder / "users"),
        }
        text = (HOST / "proxy" / "nginx.conf").read_text()
        for theirs, ours in own.items():
            assert theirs in text
            text = text.replace(theirs, ours)
        (folder / "nginx.conf").write_text(text)
        nginx = program("nginx", "nginx-light", "/usr/sbin:/usr/bin:/usr/local/bin")
        command = [nginx, "-c", str(folder / "nginx.conf"), "-g", "daemon off; user root;"]
        self.process = subprocess.Popen(command, stderr=(folder / "log").open("w"))
        self.url = f"http://localhost:{self.port}"

    def wait(self) -> None:
        session = requests.Session()
        retries = requests.adapters.Retry(connect=20, backoff_factor=0.05)
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
        assert session.get(f"{self.url}/healthy", timeout=10).status_code == 204

    def ask(self, path: str = "/graphql", method: str = "POST", **headers: str) -> int:
        """The status of a request with the right password."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        asked = {"json": QUERY} if method == "POST" else {"params": {"query": START}}
        address = f"{self.url}{path}"
        return requests.request(
            method, address, headers=names, auth=(USER, PASSWORD), timeout=30, **asked
        ).status_code


@pytest.fixture(scope="module")
def proxy(team_host: TeamHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    started = Proxy(folder, team_host.port)
    try:
        started.wait()
        yield started
    finally:
        started.process.terminate()
        started.process.wait()


@pytest.mark.parametrize("given", [None, (USER, "wrong"), ("somebody", PASSWORD)])
def test_access_requires_the_right_password(proxy: Proxy, given: tuple[str, str] | None) -> None:
    for path in ("/", "/server_info", "/logs/x"):
        answer = requests.get(f"{proxy.url}{path}", auth=given, timeout=10)
        assert answer.status_code == 401
    # Always refused, because a link on any page could send such a request.
    assert requests.get(f"{proxy.url}/graphql", auth=given, timeout=10).status_code == 405
    assert (
        requests.post(f"{proxy.url}/graphql", json=QUERY, auth=given, timeout=10).status_code == 401
    )


def test_the_ui_works_behind_it(proxy: Proxy) -> None:
    assert proxy.ask() == 200
    assert proxy.ask(Origin=proxy.url) == 200
    page = requests.get(f"{proxy.url}/runs", auth=(USER, PASSWORD), timeout=30)
    assert page.status_code == 200
    assert page.text.startswith("<!DOCTYPE html>")
    assert "img-src 'self' data:" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost", "http://localhost:3000.evil.example"],
)
def test_a_cross_site_request_is_refused_even_with_the_password(proxy: Proxy, origin: str) -> None:
    assert proxy.ask(Origin=origin) == 403
    websocket = {"Upgrade": "websocket", "Connection": "upgrade"}
    assert proxy.ask(method="GET", Origin=origin, **websocket) == 403


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1"])
def test_another_host_name_is_refused(proxy: Proxy, host: str) -> None:
    assert proxy.ask(Host=host) == 421


@pytest.mark.parametrize("upgrade", [{}, {"Upgrade": "h2c"}, {"Upgrade": "websocket2"}])
def test_graphql_refuses_get(proxy: Proxy, upgrade: dict[str, str]) -> None:
    assert proxy.ask(method="GET", **upgrade) == 405
    assert proxy.ask(method="HEAD", **upgrade) == 405
