"""The `fruits` command, and the same checks through Dagster's command line."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyarrow import fs
from typer.main import get_command

from fruits_assets.cli.main import app, main
from fruits_assets.definitions import build_defs
from fruits_assets.settings import Settings
from spark_src.contract import PREFIXES
from spark_src.tables.delta import Tables

Fruits = Callable[..., tuple[int, str, str]]
Digests = Callable[[Path], dict[str, str]]

CHECK_IN_FRESH_PROCESS = """
import atexit, sys
import pyspark
slow = {"matplotlib", "pandas", "sklearn", "tensorflow"}
atexit.register(lambda: print("imported:", sorted(slow & set(sys.modules))))
atexit.register(lambda: print("JVM started:", pyspark.SparkContext._gateway is not None))
from fruits_assets.cli.main import main
sys.argv = ["fruits", "check"]
main()
"""

LIGHT_IN_FRESH_PROCESS = """
import atexit, sys
heavy = {"dagster", "matplotlib", "pandas", "sklearn", "tensorflow"}
atexit.register(lambda: print("heavy:", sorted(heavy & set(sys.modules))))
from fruits_assets.cli.main import main
sys.argv[0] = "fruits"
main()
"""


FILMS = {"no_picture_in_two_splits"}
"""Checks that warn about the sample, whose pictures are neighbouring frames of films."""


@pytest.fixture
def fruits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fruits:
    """Run the command on a storage root: exit code, output, errors."""

    def run(root: Path, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("FRUITS_STORAGE", str(root))
        monkeypatch.setattr(sys, "argv", ["fruits", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        output, errors = capsys.readouterr()
        return int(ended.value.code or 0), output, errors

    return run


def fresh_process(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"FRUITS_STORAGE": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("asset", ["raw_images", "mobilenet_features", "pca_components"])
def test_path_prints_a_uri_that_a_delta_reader_opens(
    asset: str, stored: Path, fruits: Fruits
) -> None:
    code, output, _ = fruits(stored, "path", asset)
    assert code == 0
    assert DeltaTable(output.strip()).to_pyarrow_table(columns=["path"]).num_rows == 240


def test_path_prints_a_uri_of_a_file_that_pandas_opens(stored: Path, fruits: Fruits) -> None:
    code, output, _ = fruits(stored, "path", "csv_export")
    assert code == 0
    assert len(pd.read_csv(output.strip())) == 240


def test_path_prints_the_folder_of_the_pca_model_that_pyarrow_opens(
    stored: Path, fruits: Fruits
) -> None:
    filesystem, folder = fs.FileSystem.from_uri(fruits(stored, "path", "pca_model")[1].strip())
    assert pq.read_table(f"{folder}/pca_model.parquet", filesystem=filesystem).num_rows == 1


def test_path_prints_one_line_and_nothing_else(stored: Path, fruits: Fruits) -> None:
    _, output, errors = fruits(stored, "path", "mobilenet_model")
    assert output.count("\n") == 1
    assert output.startswith("file:///")
    assert errors == ""


def test_path_of_an_unknown_asset_lists_the_assets(stored: Path, fruits: Fruits) -> None:
    code, output, errors = fruits(stored, "path", "bananas")
    assert (code, output) == (2, "")
    assert errors.startswith("error: There is no asset 'bananas'")
    assert all(asset in errors for asset in PREFIXES)
    assert errors.count("\n") == 1


def test_path_of_a_missing_asset_shows_the_command_to_materialize_it(
    tmp_path: Path, fruits: Fruits
) -> None:
    code, output, errors = fruits(tmp_path, "path", "csv_export")
    assert (code, output) == (2, "")
    assert "uv run dagster asset materialize --select '*csv_export'" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("asked", [("--traceback",), ()])
def test_the_traceback_is_shown_on_request(
    asked: tuple[str, ...], tmp_path: Path, fruits: Fruits, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not asked:
        monkeypatch.setenv("FRUITS_TRACEBACK", "1")
    code, output, errors = fruits(tmp_path, *asked, "path", "csv_export")
    assert (code, output) == (2, "")
    assert errors.startswith("Traceback (most recent call last):")
    assert "in current" in errors
    assert errors.splitlines()[-1].startswith("error: csv_export has no current version")


def test_an_unexpected_error_is_one_line_that_mentions_the_traceback_option(
    stored: Path, fruits: Fruits, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Tables, "current", breaks)
    code, output, errors = fruits(stored, "path", "csv_export")
    assert (code, output) == (2, "")
    assert errors.startswith("error: ZeroDivisionError: division by zero.")
    assert "fruits --traceback" in errors
    assert errors.count("\n") == 1
    assert "in breaks" in fruits(stored, "--traceback", "path", "csv_export")[2]


def every_command(group: Any, *above: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in sorted(group.commands.items()):
        inner = hasattr(command, "commands")
        found += every_command(command, *above, name) if inner else [(*above, name)]
    return found


@pytest.mark.parametrize("command", every_command(get_command(app)), ids=" ".join)
def test_the_help_of_a_command_describes_it_and_each_option(
    command: tuple[str, ...], fruits: Fruits, tmp_path: Path
) -> None:
    code, output, errors = fruits(tmp_path, *command, "--help")
    assert (code, errors) == (0, "")
    assert f"{' '.join(command)} [OPTIONS]" in " ".join(output.split())
    found: Any = get_command(app)
    for name in command:
        found = found.commands[name]
    assert len(found.help.split()) > 4 and found.help.split("\n")[0].endswith((".", ":"))
    options = [option for option in found.params if option.name != "help"]
    assert [option.name for option in options if not option.help] == []


def test_an_error_prints_a_folder_with_brackets_verbatim(tmp_path: Path, fruits: Fruits) -> None:
    root = tmp_path / "fruits [old] [/2024]"
    code, _, errors = fruits(root, "path", "csv_export")
    assert code == 2
    assert str(root) in errors


def test_the_checks_table_prints_a_folder_with_brackets_verbatim(
    fruits: Fruits,
) -> None:
    with tempfile.TemporaryDirectory(
        prefix="[old]"
    ) as root:  # short, because the table wraps long names
        (Path(root) / "raw_images").mkdir()
        code, output, _ = fruits(Path(root), "check")
    assert code == 2
    shown = "".join(output.replace("│", " ").split())
    assert f"{root}/raw_images" in shown


@pytest.mark.parametrize("command", [("path", "csv_export"), ("check",)])
def test_a_bad_setting_is_one_line_and_exit_code_2(
    command: tuple[str, ...], stored: Path, fruits: Fruits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUITS_REGION", "eu-west-2")
    code, output, errors = fruits(stored, *command)
    assert (code, output) == (2, "")
    assert errors.startswith("error: FRUITS_REGION='eu-west-2'")
    assert errors.count("\n") == 1


def test_check_lists_every_check_and_exits_with_0_if_none_fails(
    stored: Path, fruits: Fruits, digests: Digests
) -> None:
    before = digests(stored)
    code, output, _ = fruits(stored, "check")
    cells = [[cell.strip() for cell in line.split("│")[1:4]] for line in output.splitlines()]
    graph = build_defs(Settings()).resolve_asset_graph()
    keys = [[key.asset_key.to_user_string(), key.name] for key in graph.asset_check_keys]
    assert code == 0
    assert len(keys) == 24
    verdicts = ["warns" if name in FILMS else "passes" for _, name in keys]
    expected = [[*key, verdict] for key, verdict in zip(keys, verdicts, strict=True)]
    # A long text continues in a row with empty cells.
    assert sorted(row for row in cells if any(row)) == sorted(expected)
    assert digests(stored) == before


def test_check_exits_with_1_after_an_error(
    copied: Path, fruits: Fruits, set_statistics: Callable[..., Any]
) -> None:
    set_statistics(copied, "raw_images", n_listed=241)
    code, output, _ = fruits(copied, "check")
    assert code == 1
    assert " FAILS " in output
    assert "240 raw_images + 0 rejected_images is not 241 files under the input" in output


def test_check_exits_with_1_if_too_little_variance_is_explained(
    copied: Path, fruits: Fruits, run: Callable[..., Any]
) -> None:
    run(copied, "pca_model+", ops={"pca_model": {"n_components": 3}})
    code, output, _ = fruits(copied, "check")
    (line,) = [line for line in output.splitlines() if "variance_is_explained" in line]
    assert code == 1
    assert " FAILS " in line
    assert "3 components explain 0." in line
    assert " warns " in next(x for x in output.splitlines() if "uses_current_models" in x)
    assert output.count(" passes ") == 21  # the classifier still contains the previous PCA


def test_check_exits_with_0_after_a_warning(
    copied: Path, fruits: Fruits, set_statistics: Callable[..., Any]
) -> None:
    set_statistics(copied, "mobilenet_model", weights_sha256="0" * 64)
    code, output, _ = fruits(copied, "check")
    assert code == 0
    assert output.count(" warns ") == 1 + len(FILMS)


def test_check_exits_with_2_if_nothing_is_stored(tmp_path: Path, fruits: Fruits) -> None:
    root = tmp_path / "data"
    code, output, errors = fruits(root, "check")
    assert (code, output) == (2, "")
    assert errors == (
        f"error: Nothing is stored under {root}, so no check can run. Materialize the assets with "
        "`uv run fruits run`, or set FRUITS_STORAGE.\n"
    )
    assert not root.exists()


def test_check_starts_no_spark_and_imports_no_slow_libraries(
    stored: Path, digests: Digests
) -> None:
    before = digests(stored)
    done = fresh_process(stored, "-c", CHECK_IN_FRESH_PROCESS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" passes ") == 23
    assert "JVM started: False" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported: []"
    assert digests(stored) == before


def test_the_installed_command_is_this_one(stored: Path) -> None:
    command = Path(sys.executable).with_name("fruits")
    done = subprocess.run(
        [command, "path", "csv_export"],
        env=os.environ | {"FRUITS_STORAGE": str(stored)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().endswith("/pca_components.csv")


@pytest.mark.parametrize("command", ["path", "history"])
def test_read_only_commands_import_no_slow_libraries(command: str, stored: Path) -> None:
    done = fresh_process(stored, "-c", LIGHT_IN_FRESH_PROCESS, command, "csv_export")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_dagsters_own_command_line_runs_the_checks_as_a_job(stored: Path, digests: Digests) -> None:
    before = digests(stored)
    module = ["-m", "fruits_assets.definitions"]
    done = fresh_process(stored, "-m", "dagster", "job", "execute", *module, "-j", "asset_checks")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("ASSET_CHECK_EVALUATION - ") == 24
    assert digests(stored) == before
