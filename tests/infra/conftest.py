"""A copy of the commands, with stand-ins for the AWS CLI, uv and Terraform that record their calls.

The outputs that the Terraform stand-in returns were saved by the real Terraform: see outputs.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.module import PROJECT, NoProviderError
from tests.infra.outputs import kept_outputs

_STAGES = {"storage_first": "-target=terraform_data.storage", "everything": " apply "}


def _terraform(root: Path, outputs: dict[str, dict[str, str]]) -> str:
    """A stand-in for Terraform: an output exists after the apply that saves it."""
    for run in _STAGES:
        folder = root / "outputs" / run
        folder.mkdir(parents=True)
        for name, value in outputs[run].items():
            (folder / name).write_text(value)
    return f"""
state={root}/state
case " $* " in
  *"{_STAGES["storage_first"]}"*) [[ -d $state ]] || cp -r {root}/outputs/storage_first $state ;;
  *"{_STAGES["everything"]}"*) rm -rf $state; cp -r {root}/outputs/everything $state ;;
  *" output -raw "*) cat "$state/${{@: -1}}" ;;
  *" state pull "*) echo '{{"id": "j-TERRAFORM"}}' ;;
esac
"""


SYSTEM = "/usr/bin:/bin"
"""The path of the machine's real programs."""


class Machine:
    """A machine with a copy of the commands, and programs that record their arguments."""

    def __init__(self, root: Path, outputs: dict[str, dict[str, str]]) -> None:
        self.root = root
        self.bin = root / "bin"
        self.calls_file = root / "calls.txt"
        self.bin.mkdir()
        self.calls_file.touch()
        for folder in ("commands", "cluster"):
            shutil.copytree(PROJECT / "infra" / folder, root / "infra" / folder)
        self.outputs = outputs["everything"]
        self.program("terraform", _terraform(root, outputs))
        self.program("uv", '[[ "$*" != *"cluster-env build"* ]] || echo .cache/env-0123.tar.gz')
        self.program("aws", "exit 0")

    def program(self, name: str, body: str) -> None:
        file = self.bin / name
        note = f'echo "{name} $*" >>"{self.calls_file}"'
        file.write_text(f"#!/usr/bin/env bash\n{note}\n{body}\n")
        file.chmod(0o755)

    def run(self, command: str, *arguments: str, **variables: str) -> tuple[int, str]:
        """Run one of the copied commands; its exit code and output."""
        path = f"{self.bin}:{SYSTEM}"
        done = subprocess.run(
            [self.root / command, *arguments],
            env={"PATH": path, "HOME": str(self.root), "LANG": os.environ.get("LANG", "C")}
            | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    def called(self, part: str = "") -> list[str]:
        """The recorded calls that contain `part`, in order."""
        return [line for line in self.calls_file.read_text().splitlines() if part in line]


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The module's outputs that Terraform saves after each apply of `up`."""
    if not shutil.which("terraform"):
        pytest.skip("there is no terraform on this machine")
    try:
        return kept_outputs(tmp_path_factory.mktemp("outputs") / "module")
    except NoProviderError:
        pytest.skip("no provider: neither Terraform's registry nor a stand-in")


@pytest.fixture
def machine(tmp_path: Path, outputs: dict[str, dict[str, str]]) -> Machine:
    """Before anything is created."""
    return Machine(tmp_path, outputs)


@pytest.fixture
def made(machine: Machine) -> Machine:
    """After `make up`."""
    (machine.root / "infra" / "terraform.tfvars").touch()
    machine.program("openssl", 'exec /usr/bin/openssl "$@"')
    code, output = machine.run("infra/commands/up", AUTO_APPROVE="yes")
    assert code == 0, output
    machine.calls_file.write_text("")
    return machine
