"""Files written by Python, delta-rs and Java are private to their user."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

_WRITES = """
import json, sys
from pathlib import Path
import dagster as dg
from spark_src.erasure import requests
from spark_src.erasure.target import Target
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from tests.small_tables import add

tables = Tables(Location.parse(sys.argv[1]))
add(tables, "run-1", "anna.jpg")
requests.store(tables, Target.from_names("anna"))
with dg.DagsterInstance.get() as instance:
    instance.report_runless_asset_event(dg.AssetMaterialization("raw_images"))
"""

_SPARK = """
from spark_src.spark.session import local_config, use_bundled_java
from pyspark.sql import SparkSession
import sys
use_bundled_java()
builder = SparkSession.builder
for name, value in local_config().items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.range(3).write.parquet(sys.argv[1] + "/by-java")
spark.stop()
"""


def modes_below(folder: Path) -> dict[str, str]:
    """Files and folders that other users could access."""
    every = [folder, *folder.rglob("*")]
    modes = {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in every}
    return {name: oct(mode) for name, mode in modes.items() if mode & 0o077}


@pytest.mark.parametrize("code", [_WRITES, _SPARK], ids=["python and delta-rs", "java"])
def test_files_are_private_to_their_user(tmp_path: Path, code: str) -> None:
    home, data = tmp_path / "dagster_home", tmp_path / "data"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(
        [sys.executable, "-c", code, str(data)],
        env=environment,
        check=True,
        umask=0o022,  # the usual umask of a shell
    )
    assert any(path.is_file() for path in data.rglob("*"))
    assert modes_below(data) == {}
    home_files = [name for name in modes_below(home) if name != "."]  # the test created the folder
    assert home_files == []
