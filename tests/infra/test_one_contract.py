"""The Python settings and Terraform read the same regions, releases and folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.module import CONTRACT, PROJECT

REGION, RELEASE, FOLDER = "eu-south-9", "emr-7.99.0", "Elsewhere"

PYTHON = """
from fruits_assets.settings import load_settings
from spark_src.contract import PREFIXES, rejection_reason
load_settings()
print(PREFIXES["mobilenet_features"], rejection_reason("emr-7.99.0") is None)
"""

# The module's validation and folders, without a provider.
OUTPUT = 'output "folders" { value = local.asset_folders }'


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that read the contract, with a modified contract."""
    root = tmp_path_factory.mktemp("checkout")
    for package in ("fruits_assets", "spark_src"):
        shutil.copytree(PROJECT / package, root / package)
    (root / "infra").mkdir()
    for name in ("contract.tf", "variables.tf"):
        # Only these two files of the module, so that Terraform needs no provider.
        shutil.copy(PROJECT / "infra" / name, root / "infra" / name)
    (root / "infra" / "output.tf").write_text(OUTPUT)
    return root


def python(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PYTHON],
        cwd=root,
        env={"PYTHONPATH": str(root), "FRUITS_REGION": REGION, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )


def terraform(root: Path) -> subprocess.CompletedProcess[str]:
    given = {
        "region": REGION,
        "release": RELEASE,
        "environment_archive": f"env-{'0123456789abcdef' * 4}.tar.gz",
        "budget_emails": '["data@example.org"]',
    }
    variables = [f"-var={name}={value}" for name, value in given.items()]
    return subprocess.run(
        ["terraform", "plan", "-input=false", "-no-color", *variables],  # noqa: S607
        cwd=root / "infra",
        env=os.environ | {"CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not shutil.which("terraform"), reason="there is no terraform on this machine")
def test_a_change_of_the_contract_affects_python_and_terraform(checkout: Path) -> None:
    file = checkout / CONTRACT
    for run in (python, terraform):
        before = run(checkout)
        assert before.returncode == 1
        assert f"{REGION} is not a region in the EU" in " ".join(before.stderr.split())
    contract = json.loads(file.read_text())
    contract["eu_regions"].append(REGION)
    contract["releases"][RELEASE] = contract["releases"]["emr-7.13.0"]
    contract["prefixes"]["mobilenet_features"] = FOLDER
    file.write_text(json.dumps(contract))
    output = python(checkout)
    assert output.stdout.split() == [FOLDER, "True"], output.stderr
    planned = terraform(checkout)
    assert planned.returncode == 0, planned.stderr
    assert f'"data/{FOLDER}"' in planned.stdout
