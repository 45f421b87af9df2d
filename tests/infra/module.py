"""Copies of the Terraform module in which Terraform can run, with or without a network."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CONTRACT = Path("spark_src") / "contract.json"

_OFFLINE = PROJECT.parent / "shared" / "tools" / "terraform-offline" / "setup"
_LOCK = PROJECT / ".cache" / "terraform.lock"


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
        os.environ["TF_CLI_CONFIG_FILE"] = _stand_in()
    try:
        terraform(module, "init", "-backend=false", "-input=false")
    except subprocess.CalledProcessError as error:
        raise NoProviderError(error.stderr) from error
    return "stand-in with the provider's schema" if _OFFLINE.exists() else "real provider"


@cache
def _stand_in() -> str:
    """Set up the stand-in once for all processes of a test run: another process may be using it."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    _LOCK.parent.mkdir(exist_ok=True)
    with _LOCK.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        known_run, _, configuration = lock.read().partition(" ")
        if known_run == run:
            return configuration
        made = subprocess.run([_OFFLINE], capture_output=True, text=True, check=True)
        lock.truncate(0)
        lock.write(f"{run} {made.stdout.strip()}")
        return made.stdout.strip()


def terraform(
    module: Path, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run Terraform in a folder."""
    return subprocess.run(
        ["terraform", *arguments, "-no-color"],  # noqa: S607 - wherever it is installed
        cwd=module,
        # A plugin listens on a socket in TMPDIR, whose path has at most 107 bytes. Spark's tests
        # set it to a longer one.
        env=os.environ | {"AWS_REGION": "eu-west-1", "CHECKPOINT_DISABLE": "1", "TMPDIR": "/tmp"},  # noqa: S108
        capture_output=True,
        text=True,
        check=check,
    )
