"""The code is packaged as a small reproducible zip, uploaded once."""

from __future__ import annotations

import io
import os
import shutil
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fruits_assets.emr import code_package
from fruits_assets.emr.code_package import HOST_ONLY, PACKAGES, build, push
from fruits_assets.settings import PROJECT
from spark_src.errors import AwsError, ClusterError, SettingsError
from spark_src.io import aws
from spark_src.io.locations import Location
from tests.cluster_env import REGION


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources that does not change while the tests run."""
    root = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, root / package)
    return root


@pytest.mark.parametrize("folder", ["elsewhere", "pytest-of-somebody/pytest-0", ".hidden/é [1]"])
def test_the_same_sources_give_the_same_bytes_in_any_folder(
    checkout: Path, tmp_path: Path, folder: str
) -> None:
    copy = tmp_path / folder
    shutil.copytree(checkout, copy)
    for file in copy.rglob("*.py"):
        os.utime(file, (1_000_000_000, 1_000_000_000))
        file.chmod(0o600)
    assert build(copy) == build(checkout)


def test_a_changed_line_gives_another_name(checkout: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checkout, tmp_path / "copy"))
    with (copy / "spark_src" / "tables" / "schemas.py").open("a") as file:
        file.write("\n")
    assert build(copy).name != build(checkout).name


def test_it_contains_only_the_sources_of_both_packages(checkout: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checkout, tmp_path / "copy"))
    for name in ("__pycache__/x.cpython-311.pyc", "notes.txt", ".#pca.py", ".DS_Store"):
        file = copy / "spark_src" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("not source")
    (copy / "tests").mkdir()
    (copy / "tests" / "test_x.py").write_text("")
    with zipfile.ZipFile(io.BytesIO(build(copy).content)) as archive:
        names = archive.namelist()
    sources = {
        file.relative_to(checkout).as_posix()
        for package in PACKAGES
        for file in (checkout / package).rglob("*.py")
        if not file.relative_to(checkout).as_posix().startswith(HOST_ONLY)
    }
    assert set(names) == sources | {"spark_src/contract.json", "spark_src/spark/log4j2.properties"}
    assert names == sorted(names)
    assert "fruits_assets/assets/pca.py" in names


def test_it_is_small(checkout: Path) -> None:
    assert len(build(checkout).content) < 10**6


def test_a_folder_without_the_packages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no package fruits_assets"):
        build(tmp_path)


def test_each_version_is_uploaded_once(
    staging: Location, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = build(checkout)
    monkeypatch.setattr(code_package, "build", lambda: package)
    place = push(staging, REGION)
    assert place == staging / package.name
    bucket, key = place.bucket_and_key
    s3 = aws.client("s3", REGION)
    first = s3.get_object(Bucket=bucket, Key=key)
    assert first["Body"].read() == package.content

    def refuse(**_: Any) -> None:
        raise AssertionError("it was uploaded again")

    monkeypatch.setattr(s3, "put_object", refuse)
    assert push(staging, REGION) == place


def test_concurrent_uploads_do_no_harm(
    staging: Location, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = build(checkout)
    monkeypatch.setattr(code_package, "build", lambda: package)
    place = push(staging, REGION)
    monkeypatch.setattr(code_package, "object_exists", lambda *_: False)
    assert push(staging, REGION) == place


@pytest.mark.usefixtures("aws")
def test_a_missing_bucket_is_reported_with_the_remedy() -> None:
    with pytest.raises(AwsError, match=r"s3://no-such-bucket/.*NoSuchBucket.*terraform apply"):
        push(Location.parse("s3://no-such-bucket/code"), REGION)


def test_a_local_storage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="FRUITS_STORAGE"):
        push(Location.parse(str(tmp_path)), REGION)


def test_the_libraries_of_the_cluster_have_the_bounds_of_the_project() -> None:
    known = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    project, cluster = known["project"]["dependencies"], known["dependency-groups"]["cluster"]
    assert set(cluster) < set(project)
