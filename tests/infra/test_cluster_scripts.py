"""JupyterHub's password on the cluster: replaced before the port opens, known to nobody else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.infra.module import PROJECT

PASSWORD = "a-long-random-password"  # noqa: S105 - of these tests alone
SECRET = ("eu-west-1", "fruits-features/jupyterhub")


class Node:
    """A node of a cluster: its `docker`, `aws` and `iptables` keep what they are told in files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin, self.taken, self.rules = root / "bin", root / "taken", root / "rules"
        self.bin.mkdir()
        self.rules.touch()
        self.program("aws", f'echo "{PASSWORD}"')
        self.program("docker", f'[[ $* != *chpasswd* ]] || {{ echo "$*"; cat; }} >>"{self.taken}"')
        # -C: is the rule there? -I, -D: put it there, take one away.
        self.program(
            "iptables",
            f'rule="$*"; rule="${{rule/-[CID] /}}"\n'
            f'case " $* " in\n'
            f'*" -C "*) grep -qxF -- "$rule" "{self.rules}" ;;\n'
            f'*" -I "*) echo "$rule" >>"{self.rules}" ;;\n'
            f'*" -D "*) sed -i 1d "{self.rules}" ;;\n'
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


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_port_is_closed_until_the_password_is_replaced(node: Node) -> None:
    assert node.run("close-jupyterhub.sh")[0] == 0
    (rule,) = node.rules.read_text().splitlines()
    assert "! -i lo -p tcp --dport 9443 -j DROP" in rule
    code, said = node.run("jupyterhub-password.sh", *SECRET)
    assert code == 0, said
    assert node.rules.read_text() == ""
    told, given = node.taken.read_text().splitlines()
    assert given == f"jovyan:{PASSWORD}"
    assert PASSWORD not in told and PASSWORD not in said


def test_both_can_be_run_again(node: Node) -> None:
    for _ in range(2):
        assert node.run("close-jupyterhub.sh")[0] == 0
    assert len(node.rules.read_text().splitlines()) == 1
    for _ in range(2):
        assert node.run("jupyterhub-password.sh", *SECRET)[0] == 0
    assert node.rules.read_text() == ""


def test_other_nodes_than_the_primary_close_nothing(node: Node) -> None:
    assert node.run("close-jupyterhub.sh", primary=False)[0] == 0
    assert node.rules.read_text() == ""


def test_a_port_that_cannot_be_closed_ends_the_start(node: Node) -> None:
    node.program("iptables", "exit 1")
    code, said = node.run("close-jupyterhub.sh")
    assert code == 1
    assert "cannot close port 9443" in said


@pytest.mark.parametrize(
    ("program", "body", "why"),
    [
        ("aws", "exit 1", "cannot read fruits-features/jupyterhub"),
        ("aws", "echo jupyter", "shorter than 16"),
        ("aws", "echo a-long-password:root", "colon or a line break"),
        ("docker", "exit 1", "container does not run"),
        ("docker", "[[ $* != *chpasswd* ]]", "did not take the password"),
    ],
)
def test_where_it_is_not_replaced_the_step_fails_and_the_port_stays_closed(
    node: Node, program: str, body: str, why: str
) -> None:
    node.run("close-jupyterhub.sh")
    node.program(program, body)
    code, said = node.run("jupyterhub-password.sh", *SECRET)
    assert code == 1
    assert why in said
    assert len(node.rules.read_text().splitlines()) == 1


@pytest.mark.parametrize("there", [True, False], ids=["installed", "missing"])
def test_session_managers_agent_is_started_and_installed_where_it_is_missing(
    node: Node, there: bool
) -> None:
    node.program("rpm", f"exit {int(not there)}")
    for program in ("dnf", "systemctl"):
        node.program(program, f'echo "{program} $*" >>"{node.taken}"')
    assert node.run("session-manager.sh")[0] == 0
    done = [line.split()[0] for line in node.taken.read_text().splitlines()]
    assert done == (["systemctl"] if there else ["dnf", "systemctl"])


def test_a_cluster_starts_without_session_manager_but_says_so(node: Node) -> None:
    node.program("rpm", "exit 1")
    node.program("dnf", "exit 1")
    code, said = node.run("session-manager.sh")
    assert code == 0
    assert "no port forward, no shell" in said
