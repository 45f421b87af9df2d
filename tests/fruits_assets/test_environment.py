"""Dagster's commands find their home and module without variables or flags."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fruits_assets.environment import DEFAULTS

REPOSITORY = Path(__file__).resolve().parents[2]


def value_in_fresh_python(name: str, folder: Path, **own: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in DEFAULTS}
    command = [sys.executable, "-c", f"import os; print(os.environ[{name!r}])"]
    done = subprocess.run(
        command, env=environment | own, cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_dagsters_home_is_the_projects_own_wherever_python_starts(tmp_path: Path) -> None:
    home = value_in_fresh_python("DAGSTER_HOME", tmp_path)
    assert home == str(REPOSITORY / ".dagster")


@pytest.mark.parametrize("command", ["ASSET_MATERIALIZE", "ASSET_LIST", "JOB_EXECUTE"])
def test_dagsters_commands_know_the_module(command: str, tmp_path: Path) -> None:
    name = f"DAGSTER_CLI_{command}_MODULE_NAME"
    assert value_in_fresh_python(name, tmp_path) == "fruits_assets.definitions"


def test_a_sensor_has_the_time_to_list_a_million_objects(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in DEFAULTS}
    ask = "from dagster._grpc import client; print(client.DEFAULT_SENSOR_GRPC_TIMEOUT)"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) >= 10 * 60


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_an_existing_variable_takes_precedence(name: str, tmp_path: Path) -> None:
    assert value_in_fresh_python(name, tmp_path, **{name: "own"}) == "own"


def python_path(folder: Path, *entries: Path | str) -> tuple[str, list[str]]:
    """PYTHONPATH and `sys.path` of a new process that was started with these entries."""
    value = os.pathsep.join(map(str, entries))
    command = [sys.executable, "-c", "import os, sys, typing; print(os.environ['PYTHONPATH'])"]
    command[-1] += "; print(*sys.path, sep=os.pathsep)"
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": value},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    variable, found = done.stdout.splitlines()
    return variable, found.split(os.pathsep)


@pytest.mark.parametrize(
    "module", ["types.py", "random.py", "numpy.py", "yaml/__init__.py", "pyspark/__init__.py"]
)
def test_a_folder_that_shadows_a_library_is_removed_from_the_path(
    module: str, tmp_path: Path
) -> None:
    file = tmp_path / "stray" / module
    file.parent.mkdir(parents=True)
    file.write_text("raise ImportError('a stray module')")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "helpers.py").touch()
    variable, found = python_path(tmp_path, tmp_path / "stray", tmp_path / "own")
    assert variable == str(tmp_path / "own")
    assert str(tmp_path / "own") in found and str(tmp_path / "stray") not in found


def test_an_empty_entry_is_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "types.py").write_text("raise ImportError('a stray module')")
    assert python_path(tmp_path, "", "/usr/share")[0] == "/usr/share"


def test_the_environments_own_folders_stay_on_the_path(tmp_path: Path) -> None:
    own = [entry for entry in sys.path if entry.endswith(("site-packages", "python3.11"))]
    assert python_path(tmp_path, *own)[0] == os.pathsep.join(own)


def test_warnings_of_libraries_are_not_errors(tmp_path: Path) -> None:
    program = "import os, warnings; warnings.warn('old', DeprecationWarning); "
    program += "print('PYTHONWARNINGS' in os.environ)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONWARNINGS": "error"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


def test_python_starts_without_loading_the_project(tmp_path: Path) -> None:
    check = "import sys; print(sorted({'dagster', 'pyspark', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_dagster_lists_the_assets_without_flags(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in DEFAULTS}
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "asset", "list"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        "csv_export",
        "data_health",
        "embedding_quality",
        "fruit_classifier",
        "label_issues",
        "mobilenet_features",
        "mobilenet_model",
        "pca_components",
        "pca_model",
        "raw_images",
        "rejected_images",
    ]


def test_each_storage_has_records_of_its_own(tmp_path: Path) -> None:
    default, one, two = (
        value_in_fresh_python("DAGSTER_HOME", tmp_path, FRUITS_STORAGE=storage)
        for storage in (f"{REPOSITORY}/data/", str(tmp_path / "one"), "s3://bucket/one")
    )
    try:
        assert default == str(REPOSITORY / ".dagster")
        assert len({default, one, two}) == 3
        for home in (one, two):
            assert home.startswith(str(REPOSITORY / ".dagster-one-"))
            assert (Path(home) / "dagster.yaml").read_text() == (
                REPOSITORY / ".dagster" / "dagster.yaml"
            ).read_text()
    finally:
        for home in {one, two} - {default}:
            shutil.rmtree(home)
