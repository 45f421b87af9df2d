"""Bootstrap scripts: JupyterHub's password is replaced before its port is opened."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cluster_env import FROM_NO_OTHER_REGION, REGION
from tests.infra.module import PROJECT

HASH = "$6$cjUdkIN1TkOHYUZs$" + "x" * 86
URI = "s3://bucket/cluster/jupyterhub-password.hash"
OUTPUTS = ["-m addrtype --dst-type LOCAL", "-o docker+", "-o br-+"]
RULES = [
    f"{command} -w -t raw {way} -p tcp --dport {port} -j DROP"
    for command in ("iptables", "ip6tables")
    for port in (9443, 8081)
    for way in ("PREROUTING", *(f"OUTPUT {match}" for match in OUTPUTS))
]
UNITS = ["fruits-jupyterhub-closed.service", "fruits-jupyterhub-password.service"]


class Node:
    """A cluster node whose `docker`, `aws` and `iptables` write their arguments to files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin, self.calls, self.rules = root / "bin", root / "taken", root / "rules"
        self.bin.mkdir()
        self.rules.touch()
        self.calls.touch()
        self.program("aws", f"{FROM_NO_OTHER_REGION}\necho '{HASH}'")
        self.program("docker", f'[[ $* != *chpasswd* ]] || {{ echo "$*"; cat; }} >>"{self.calls}"')
        self.program("systemctl", f'echo "systemctl $*" >>"{self.calls}"')
        # -C checks for a rule, -I adds it, -D removes it.
        for name in ("iptables", "ip6tables"):
            self.program(
                name,
                f'rule="{name} $*"; how=$4; rule="${{rule/ -[CID] / }}"\n'
                f"case $how in\n"
                f'-C) grep -qxF -- "$rule" "{self.rules}" ;;\n'
                f'-I) echo "$rule" >>"{self.rules}" ;;\n'
                f'-D) grep -vxF -- "$rule" "{self.rules}" >"{root}/left"\n'
                f'mv "{root}/left" "{self.rules}" ;;\n'
                f"esac",
            )

    def program(self, name: str, body: str) -> None:
        (self.bin / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (self.bin / name).chmod(0o755)

    def run(self, script: str, *arguments: str, primary: bool = True) -> tuple[int, str]:
        info = self.root / "instance.json"
        info.write_text(json.dumps({"isMaster": primary}))
        variables = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "SUDO": "",
            "FRUITS_INSTANCE_INFO": str(info),
            "FRUITS_SYSTEM": str(self.root / "system"),
            "FRUITS_WAIT_SECONDS": "0",
        }
        done = subprocess.run(
            [PROJECT / "infra" / "cluster" / script, *arguments],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        return done.returncode, done.stdout + done.stderr

    def drop_rules(self) -> list[str]:
        """The current rules, each once."""
        rules = self.rules.read_text().splitlines()
        assert len(rules) == len(set(rules))
        return rules


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_port_is_closed_until_the_password_is_replaced_even_to_the_node(
    node: Node,
) -> None:
    code, output = node.run("jupyterhub.sh", "install", REGION, URI)
    assert code == 0, output
    assert node.drop_rules() == RULES
    assert "! -i lo" not in node.rules.read_text()
    code, output = node.run("jupyterhub.sh", "open", REGION, URI)
    assert code == 0, output
    assert node.drop_rules() == []
    recorded, given = node.calls.read_text().splitlines()[-2:]
    assert "chpasswd --encrypted" in recorded and given == f"jovyan:{HASH}"
    assert HASH not in recorded and HASH not in output


def test_a_restarted_node_closes_the_port_before_docker_starts(node: Node) -> None:
    assert node.run("jupyterhub.sh", "install", REGION, URI)[0] == 0
    folder = node.root / "system" / "etc" / "systemd" / "system"
    closed, password = ((folder / unit).read_text() for unit in UNITS)
    installed = node.root / "system" / "opt" / "fruits" / "jupyterhub.sh"
    assert f"ExecStart={installed} close" in closed
    assert "Before=docker.service" in closed and "RequiredBy=docker.service" in closed
    assert f"ExecStart={installed} open {REGION} {URI}" in password
    assert "Restart=on-failure" in password and "StartLimitIntervalSec=0" in password
    assert f"Requires={UNITS[0]}" in password
    # A restart of Docker alone closes the ports, so it has to replace the password again, too.
    assert "WantedBy=multi-user.target docker.service" in password
    started = [line for line in node.calls.read_text().splitlines() if " start " in line]
    assert started == [f"systemctl start --no-block {UNITS[1]}"]
    assert subprocess.run([installed, "nonsense"], check=False, capture_output=True).returncode == 1


def test_both_units_are_idempotent(node: Node) -> None:
    for _ in range(2):
        assert node.run("jupyterhub.sh", "install", REGION, URI)[0] == 0
        assert node.run("jupyterhub.sh", "close")[0] == 0
    assert node.drop_rules() == RULES
    for _ in range(2):
        assert node.run("jupyterhub.sh", "open", REGION, URI)[0] == 0
    assert node.drop_rules() == []


def test_rules_that_an_interrupted_unit_left_are_completed_and_all_removed(node: Node) -> None:
    assert node.run("jupyterhub.sh", "install", REGION, URI)[0] == 0
    node.rules.write_text("\n".join(RULES[1:]) + "\n")
    assert node.run("jupyterhub.sh", "close")[0] == 0
    assert sorted(node.drop_rules()) == sorted(RULES)
    assert node.run("jupyterhub.sh", "open", REGION, URI)[0] == 0
    assert node.drop_rules() == []


def test_only_the_primary_node_closes_the_port(node: Node) -> None:
    assert node.run("jupyterhub.sh", "install", REGION, URI, primary=False)[0] == 0
    assert node.drop_rules() == [] and node.calls.read_text() == ""


@pytest.mark.parametrize("command", ["iptables", "ip6tables"])
def test_the_bootstrap_fails_if_the_port_cannot_be_closed(node: Node, command: str) -> None:
    node.program(command, "exit 1")
    code, output = node.run("jupyterhub.sh", "install", REGION, URI)
    assert code == 1
    assert "cannot close the ports" in output


@pytest.mark.parametrize(
    ("program", "body", "why"),
    [
        ("aws", "exit 1", f"cannot read {URI}"),
        ("aws", "echo jupyter", "not a SHA-512 password hash"),
        ("aws", f"echo '{HASH}'; echo root:x", "not a SHA-512 password hash"),
        ("docker", "exit 1", "container is not running"),
        ("docker", "[[ $* != *chpasswd* ]]", "did not accept the password"),
    ],
)
def test_if_the_password_is_not_replaced_the_unit_fails_and_the_port_stays_closed(
    node: Node, program: str, body: str, why: str
) -> None:
    node.run("jupyterhub.sh", "install", REGION, URI)
    node.program(program, body)
    code, output = node.run("jupyterhub.sh", "open", REGION, URI)
    assert code == 1
    assert why in output
    assert node.drop_rules() == RULES


def test_sparkmagic_uses_https_for_livy(node: Node) -> None:
    """Since EMR 7.4, Livy uses the cluster's certificate if traffic is encrypted."""
    home = node.root / "home" / "jovyan" / ".sparkmagic"
    home.mkdir(parents=True)
    credentials = {"username": "", "url": "http://ip-10-0-0-1.eu-west-1.compute.internal:8998"}
    config = {"kernel_python_credentials": credentials, "ignore_ssl_errors": False}
    (home / "config.json").write_text(json.dumps(config))
    here = f"s|/home/|{node.root}/home/|; s|/etc/|{node.root}/etc/|"
    node.program("docker", f'[[ $* != *python3* ]] || sed "{here}" | python3 -')
    code, output = node.run("jupyterhub.sh", "open", REGION, URI)
    assert code == 0, output
    recorded = json.loads((home / "config.json").read_text())
    assert recorded["kernel_python_credentials"]["url"].startswith("https://ip-10-0-0-1.")
    assert recorded["ignore_ssl_errors"] is True


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("install",),
        ("open",),
        ("open", URI),
        ("open", REGION, "s3://b/x"),
        ("close", URI),
        ("fail", REGION, URI),
    ],
)
def test_invalid_arguments_are_refused(node: Node, arguments: tuple[str, ...]) -> None:
    code, output = node.run("jupyterhub.sh", *arguments)
    assert code == 1
    assert "jupyterhub.sh: expected" in output


@pytest.mark.parametrize("there", [True, False], ids=["installed", "missing"])
def test_session_managers_agent_is_started_and_installed_if_missing(
    node: Node, there: bool
) -> None:
    node.program("rpm", f"exit {int(not there)}")
    for program in ("dnf", "systemctl"):
        node.program(program, f'echo "{program} $*" >>"{node.calls}"')
    assert node.run("session-manager.sh")[0] == 0
    done = [line.split()[0] for line in node.calls.read_text().splitlines()]
    assert done == (["systemctl"] if there else ["dnf", "systemctl"])


def test_a_cluster_starts_without_session_manager_and_reports_it(node: Node) -> None:
    node.program("rpm", "exit 1")
    node.program("dnf", "exit 1")
    code, output = node.run("session-manager.sh")
    assert code == 0
    assert "no port forward, no shell" in output
