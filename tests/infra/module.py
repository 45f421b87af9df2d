"""Copies of the Terraform module in which Terraform can run, with or without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CONTRACT = Path("spark_src") / "contract.json"

_OFFLINE = PROJECT.parent / "shared" / "tools" / "terraform-offline" / "setup"


class NoProviderError(Exception):
    """Neither the provider's registry nor the stand-in is available."""


def copy(target: Path) -> Path:
    """Copy the module, so that the stand-in's lock file is not written to the original.

    Args:
        target: an empty folder; the module is copied to its `infra/`.
    """
    (target / CONTRACT).parent.mkdir(parents=True)
    shutil.copy(PROJECT / CONTRACT, target / CONTRACT)
    module = target / "infra"
    for pattern in ("*.tf", "cluster/*.sh", "tests/*.hcl", "tests/mocks/*.hcl"):
        for file in (PROJECT / "infra").glob(pattern):
            to = module / file.relative_to(PROJECT / "infra")
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, to)
    return module


def init(module: Path) -> str:
    """Install the provider: the stand-in next to the repository if it exists, or the real one.

    Returns:
        A description of the provider.

    Raises:
        NoProviderError: neither is available.
    """
    if _OFFLINE.exists():
        made = subprocess.run([_OFFLINE], capture_output=True, text=True, check=True)
        os.environ["TF_CLI_CONFIG_FILE"] = made.stdout.strip()
    try:
        terraform(module, "init", "-backend=false", "-input=false")
    except subprocess.CalledProcessError as error:
        raise NoProviderError(error.stderr) from error
    return "stand-in with the provider's schema" if _OFFLINE.exists() else "real provider"


def terraform(
    module: Path, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run Terraform in a folder."""
    return subprocess.run(
        ["terraform", *arguments, "-no-color"],  # noqa: S607 - wherever it is installed
        cwd=module,
        env=os.environ | {"AWS_REGION": "eu-west-1", "CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=check,
    )
