"""A copy of the commands, with stand-ins for Terraform, the AWS CLI and uv that take notes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.module import PROJECT

OUTPUTS = {
    "bucket": "fruits-data",
    "storage": "s3://fruits-data/data",
    "region": "eu-west-1",
    "cluster_name": "fruits-features",
    "certificates_uri": "s3://fruits-data/cluster/certificates.zip",
    "jupyterhub_secret": "fruits-features/jupyterhub",
    "data_key": "arn:aws:kms:eu-west-1:123456789012:key/1",
    "exports": "export FRUITS_REGION='eu-west-1'",
}

_OUTPUT_CASES = "\n".join(f'  {name}) echo "{value}" ;;' for name, value in OUTPUTS.items())

TERRAFORM = f"""
case "$*" in
  *"output -raw"*) case "${{@: -1}}" in
{_OUTPUT_CASES}
  esac ;;
  *"state pull"*) echo '{{"id": "j-TERRAFORM"}}' ;;
esac
"""


SYSTEM = "/usr/bin:/bin"
"""Where a machine's real programs are."""


class Machine:
    """A machine with a copy of the commands and programs that note what they are called with."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.notes = root / "notes.txt"
        self.bin.mkdir()
        self.notes.touch()
        shutil.copytree(PROJECT / "infra" / "commands", root / "infra" / "commands")
        self.program("terraform", TERRAFORM)
        self.program("uv", '[[ "$*" != *"cluster-env build"* ]] || echo .cache/env-0123.tar.gz')
        self.program("aws", "exit 0")

    def program(self, name: str, body: str) -> None:
        file = self.bin / name
        note = f'echo "{name} $*" >>"{self.notes}"'
        file.write_text(f"#!/usr/bin/env bash\n{note}\n{body}\n")
        file.chmod(0o755)

    def run(self, command: str, *arguments: str, **variables: str) -> tuple[int, str]:
        """Run one of the copied commands; its exit code and all that it said."""
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
        """The calls that were noted, in order, of those that have `part` in them."""
        return [line for line in self.notes.read_text().splitlines() if part in line]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)
