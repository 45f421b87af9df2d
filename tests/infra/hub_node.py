"""A node that runs JupyterHub as EMR does: real hub, PAM and iptables, but no Docker."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster_env import FROM_NO_OTHER_REGION
from tests.infra.module import PROJECT
from tests.programs import program, skip_or_fail

ADDRESSES = ("127.0.0.1", "10.0.0.10", "172.18.0.2")
"""Of the node, to itself and to others, and of the container."""

START_SECONDS = 120
"""Longest start of the hub, or of a person's server, on a busy machine."""

_NPM = PROJECT / ".cache" / "npm"
_PROXY = _NPM / "node_modules" / ".bin"
_SYSTEM = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATH = f"{sys.prefix}/bin:{_PROXY}:{_SYSTEM}"
_SCRIPT = Path(__file__).with_name("hub_node.sh")

_NETWORK = """
ip link add bridge type bridge
ip link add here type veth peer name there
iptables -t nat -A OUTPUT -m addrtype --dst-type LOCAL -p tcp -j DNAT --to 10.0.0.1
"""
"""What a node's network is made of, which containers and other kernels may not support."""

_CONFIGURATION = """
c.Spawner.environment = {"SPARKMAGIC_CONF_DIR": "/etc/jupyter/conf", "JUPYTER_ENABLE_LAB": "yes"}
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.admin_access = True
c.JupyterHub.ssl_key = "/etc/jupyter/conf/server.key"
c.JupyterHub.ssl_cert = "/etc/jupyter/conf/server.crt"
c.JupyterHub.port = 9443
c.Authenticator.admin_users = {"jovyan"}
"""
"""The settings of EMR's own file. PAM is JupyterHub's default."""

_MORE_CONFIGURATION = f"""
c.Authenticator.allow_all = True  # the default before JupyterHub 5: everyone whom PAM accepts
c.Spawner.start_timeout = c.Spawner.http_timeout = {START_SECONDS}
"""

_SPARKMAGIC = {
    "kernel_python_credentials": {"username": "", "password": "", "url": "http://node:8998"},
}


def require_programs() -> None:
    """Skip the test, or fail in CI, if this machine cannot run a node."""
    if os.geteuid() != 0:
        skip_or_fail("JupyterHub starts a server as another user, so this test has to run as root")
    unshare = program("unshare", "util-linux", _SYSTEM)
    program("ip", "iproute2", _SYSTEM)
    program("iptables", "iptables", _SYSTEM)
    program(
        "configurable-http-proxy",
        "configurable-http-proxy@4.6.3",
        str(_PROXY),
        f"npm install --prefix {_NPM.relative_to(PROJECT)}",
    )
    tried = subprocess.run(
        [unshare, "--net", "--mount", "--uts", "--pid", "--fork", "/bin/sh", "-ec", _NETWORK],
        env={"PATH": _PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:  # in CI as well: nothing that can be installed is missing
        pytest.skip(f"this machine allows no networks of its own: {tried.stderr.strip()}")


class HubNode:
    """A node before its bootstrap actions, and an office with a route to it.

    Args:
        root: an empty folder.
        hashed: the password's hash in the bucket.
    """

    def __init__(self, root: Path, hashed: str) -> None:
        self.root = root
        self._bin, self._log, self._scratch = root / "bin", root / "hub.log", root / "scratch"
        self._bin.mkdir()
        self._scratch.mkdir()
        self._stand_in("aws", f"{FROM_NO_OTHER_REGION}\necho '{hashed}'")
        self._stand_in("systemctl", "exit 0")
        (root / "instance.json").write_text('{"isMaster": true}')
        self.certificate = _write_configuration(root / "jupyter" / "conf")
        needed = [PROJECT, sys.prefix, sys.base_prefix]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                ["unshare", "--net", _SCRIPT, "node", self._scratch, root / "jupyter", *needed],  # noqa: S607
                env={"PATH": _PATH, "LANG": "C.UTF-8"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait(self._file("ready").exists)

    def start_hub(self) -> None:
        """Start the container; `docker exec` enters it."""
        assert self._process.stdin
        self._process.stdin.write(b"\n")
        self._process.stdin.close()
        self._wait(lambda: "JupyterHub is now running" in self.log())
        enter = f"nsenter --target {self._pid('container')} --mount --net --uts env PATH={_PATH}"
        self._stand_in("docker", f'shift; [[ $1 != -i ]] || shift; shift\nexec {enter} "$@"')

    def run(self, *command: str | Path) -> tuple[int, str]:
        """Run a command on the node; its exit code and output."""
        variables = {
            "PATH": f"{self._bin}:{_SYSTEM}",
            "SUDO": "",
            "FRUITS_INSTANCE_INFO": str(self.root / "instance.json"),
            "FRUITS_SYSTEM": str(self.root / "system"),
        }
        done = subprocess.run(
            ["nsenter", "--target", str(self._process.pid), "--net", *command],  # noqa: S607
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )
        return done.returncode, done.stdout + done.stderr

    def in_container(self, *command: str) -> tuple[int, str]:
        return self.run("docker", "exec", "jupyterhub", *command)

    @contextmanager
    def network(self, place: str) -> Iterator[None]:
        """Inside the block, connections of this thread are made on the node or in the office."""
        libc = ctypes.CDLL(None, use_errno=True)
        pid = self._process.pid if place == "node" else self._pid(place)
        with open("/proc/thread-self/ns/net") as own, open(f"/proc/{pid}/ns/net") as other:
            assert libc.setns(other.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(own.fileno(), 0) == 0, os.strerror(ctypes.get_errno())

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        """End the container with all of its processes."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _file(self, what: str) -> Path:
        return self._scratch.with_suffix(f".{what}")

    def _pid(self, place: str) -> int:
        return int(self._file(place).read_text())

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def _stand_in(self, name: str, body: str) -> None:
        (self._bin / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (self._bin / name).chmod(0o755)


def _write_configuration(folder: Path) -> Path:
    """The files of /etc/jupyter/conf; the path of the hub's certificate."""
    folder.mkdir(parents=True)
    (folder / "jupyterhub_config.py").write_text(_CONFIGURATION + _MORE_CONFIGURATION)
    (folder / "config.json").write_text(json.dumps(_SPARKMAGIC))
    key, certificate = folder / "server.key", folder / "server.crt"
    names = ",".join(f"IP:{address}" for address in ADDRESSES)
    subprocess.run(
        [
            *(program("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-subj", "/CN=node", "-addext", f"subjectAltName={names}"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    return certificate
