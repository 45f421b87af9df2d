"""The constants shared with `infra/` match the code, and are packaged for the cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from fruits_assets.emr import code_package, packed_env
from fruits_assets.settings import PROJECT, Settings
from spark_src import contract


def test_every_release_has_the_spark_and_the_python_of_the_lock_file() -> None:
    for release, has in contract.RELEASES.items():
        assert contract.rejection_reason(release) is None
        assert has["spark"] == pyspark.__version__
        assert has["python"] == packed_env.PYTHON_VERSION


@pytest.mark.parametrize(
    ("release", "why"),
    [
        ("emr-6.15.0", "Python 3.7"),
        ("emr-7.6.0", "Spark 3.5.3"),
        ("emr-7.12.0", "not been tried"),
        ("emr-8.0.0", "not been tried"),
    ],
)
def test_other_releases_are_refused_with_the_reason_and_the_remedy(release: str, why: str) -> None:
    text = contract.rejection_reason(release)
    assert text is not None
    assert why in text and text.endswith("Use emr-7.13.0.")


def test_the_default_region_is_one_of_the_contract() -> None:
    assert Settings.model_fields["region"].default in contract.EU_REGIONS
    assert "eu-west-2" not in contract.EU_REGIONS  # London


def test_no_two_assets_share_a_folder() -> None:
    assert len(set(contract.PREFIXES.values())) == len(contract.PREFIXES)


def test_nodes_unpack_the_environment_where_the_code_looks_for_it() -> None:
    script = (PROJECT / "infra" / "cluster" / "bootstrap.sh").read_text()
    assert f"${{FRUITS_ENV_PATH:-{contract.ENVIRONMENT_PATH}}}" in script


def test_the_contract_is_read_from_the_packaged_zip(tmp_path: Path) -> None:
    file = tmp_path / "code.zip"
    file.write_bytes(code_package.build().content)
    program = "from spark_src import contract; print(contract.__file__, *contract.EU_REGIONS)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(file)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    where, *regions = done.stdout.split()
    assert where == f"{file}/spark_src/contract.py"
    assert tuple(regions) == contract.EU_REGIONS
