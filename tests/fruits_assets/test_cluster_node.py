"""A node of the cluster unpacks the environment with its bootstrap action."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fruits_assets.emr import packed_env
from tests.cluster_env import BOOTSTRAP, REGION, Node, on_a_node

URI = f"s3://fruits-env/env-{'0' * 64}.tar.gz"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A new node."""
    yield (node := Node(tmp_path))
    shutil.rmtree(node.target.parent, ignore_errors=True)


def test_the_bootstrap_action_is_valid_bash() -> None:
    subprocess.run(["bash", "-n", str(BOOTSTRAP)], check=True)  # noqa: S607
    assert os.access(BOOTSTRAP, os.X_OK)


def test_a_node_unpacks_it_once(archive: Path, code: Path, node: Node) -> None:
    uri = f"s3://fruits-env/{archive.name}"
    first = node.boot(archive, REGION, uri)
    assert first.returncode == 0, first.stderr
    assert on_a_node(node.target, code, "import sys; print(sys.prefix)") == str(node.target)
    assert (node.target / ".key").read_text().strip() == archive.name.removesuffix(".tar.gz")

    again = node.boot(archive, REGION, uri)
    assert again.returncode == 0 and "already" in again.stdout
    assert node.downloads == [uri]
    assert list(node.temporary.iterdir()) == []


def test_a_node_reports_a_damaged_archive_and_keeps_its_environment(
    archive: Path, node: Node, tmp_path: Path
) -> None:
    node.target.mkdir(parents=True)
    (node.target / "kept").touch()
    damaged = tmp_path / "damaged.tar.gz"
    with archive.open("rb") as stream:
        damaged.write_bytes(stream.read(2_000_000))
    uri = f"s3://fruits-env/{packed_env.archive_name(damaged)}"
    done = node.boot(damaged, REGION, uri)
    assert done.returncode == 1
    assert f"bootstrap.sh: {uri} is damaged" in done.stderr
    assert [file.name for file in node.target.iterdir()] == ["kept"]


def test_a_node_unpacks_only_an_archive_that_matches_its_digest(node: Node, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    planted = tmp_path / "planted.tar.gz"
    with tarfile.open(planted, "w:gz") as packed:
        packed.add(tmp_path / "bin", "bin")
    done = node.boot(planted, REGION, URI)
    assert done.returncode == 1
    assert "differs from its name" in done.stderr
    assert not node.target.exists() and not Path(f"{node.target}.new").exists()


def test_a_node_reports_that_the_libraries_do_not_run(node: Node, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "pyvenv.cfg").write_text("home = /nowhere\n")
    hollow = tmp_path / "hollow.tar.gz"
    with tarfile.open(hollow, "w:gz") as packed:
        for name in ("bin", "pyvenv.cfg"):
            packed.add(tmp_path / name, name)
    name = packed_env.archive_name(hollow)
    done = node.boot(hollow, REGION, f"s3://fruits-env/{name}")
    assert done.returncode == 1
    assert f"{name.removesuffix('.tar.gz')} does not run with" in done.stderr
    assert not node.target.exists()


def test_a_node_reports_a_failed_download(node: Node, tmp_path: Path) -> None:
    done = node.boot(tmp_path / "absent", REGION, URI)
    assert done.returncode == 1
    assert f"cannot download {URI}" in done.stderr


@pytest.mark.parametrize(
    "arguments", [(), (URI,), (REGION, "s3://a/env-1.tar.gz"), (URI, REGION), (REGION, URI, "more")]
)
def test_a_node_prints_the_usage(node: Node, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = node.boot(tmp_path, *arguments)
    assert done.returncode == 1
    assert "expected two arguments" in done.stderr
