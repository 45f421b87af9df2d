"""`fruits history`: an asset's versions with time, run and changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from fruits_assets.cli.main import app
from spark_src.io.locations import Location
from spark_src.tables.artifacts import commit_artifact
from spark_src.tables.change import Change
from spark_src.tables.delta import DataFile, Snapshot, Tables, TableWrite
from spark_src.tables.parquet import new_name, write_file
from spark_src.tables.schemas import PCA_COMPONENTS
from spark_src.tables.statistics import (
    ComponentsStatistics,
    CsvStatistics,
    QualityStatistics,
    VectorStatistics,
)

Rows = list[list[str]]
History = Callable[..., tuple[Rows, str]]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(Location.parse(str(tmp_path / "data")))


@pytest.fixture
def history(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> History:
    """Run the command; return the table's cells and the complete output."""
    monkeypatch.setenv("FRUITS_STORAGE", str(tables.root))

    def run(*arguments: str) -> tuple[Rows, str]:
        done = CliRunner().invoke(app, ["history", *arguments])
        lines = [line for line in done.output.splitlines() if line.startswith("│")]
        return [
            [cell.strip() for cell in line.strip("│").split("│")] for line in lines
        ], done.output

    return run


def part(write: TableWrite, rows: int) -> DataFile:
    table = pa.table({name: [None] * rows for name in PCA_COMPONENTS.names}, schema=PCA_COMPONENTS)
    return write_file([table], write.folder, new_name(0), PCA_COMPONENTS)


def components(rows: int) -> ComponentsStatistics:
    return ComponentsStatistics(
        digest=f"of {rows}",
        rows=rows,
        pca_model="digest",
        model_sha256="digest",
        n_components=50,
        vectors=VectorStatistics(),
    )


def store(tables: Tables, run_id: str, *sizes: int) -> Snapshot:
    """Commit a version of `pca_components` with files of these row counts; keep earlier files."""
    write = tables.begin("pca_components", run_id)
    kept = [file.rows for file in write.before.files] if write.before else []
    added = tuple(part(write, rows) for rows in sizes)
    return Change(write, components(sum([*kept, *sizes])), added).commit()


def export(tables: Tables, of: Snapshot) -> Snapshot:
    write = tables.begin("csv_export", "export", [of])
    known = of.statistics
    files = ("pca_components.csv",)
    statistics = CsvStatistics(digest=known.digest, rows=known.rows, files=files, n_components=50)
    return commit_artifact(write, statistics)


def test_versions_are_listed_with_time_run_and_rows_newest_first(
    tables: Tables, history: History
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    store(tables, "0b5e6f70-first", 3)
    store(tables, "9c1d2e3f-second", 2000)
    rows, _ = history("pca_components")
    assert [[row[0], row[2], row[4]] for row in rows] == [
        ["1", "9c1d2e3f", "2,003"],
        ["0", "0b5e6f70", "3"],
    ]
    for row in rows:
        at = datetime.strptime(row[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        assert before <= at <= datetime.now(UTC)


def test_changes_are_shown_in_rows_and_files(tables: Tables, history: History) -> None:
    first = store(tables, "first", 4, 3)
    write = tables.begin("pca_components", "second")
    gone = next(file.name for file in first.files if file.rows == 4)
    Change(write, components(5), (part(write, 2),), (gone,)).commit()
    write = tables.begin("pca_components", "third")
    assert write.before
    Change(write, components(0), (), tuple(file.name for file in write.before.files)).commit()
    rows, _ = history("pca_components")
    assert [row[5] for row in rows] == [
        "-5 rows (5 rows in 2 files removed)",
        "-2 rows (2 rows in 1 file added, 4 rows in 1 file removed)",
        "+7 rows (7 rows in 2 files added)",
    ]


def test_the_note_of_a_commit_is_shown(tables: Tables, history: History) -> None:
    write = tables.begin("pca_components", "erasure")
    Change(write, components(1), (part(write, 1),), note="rows were [erased]").commit()
    assert "rows were [erased]" in history("pca_components")[1]


def test_the_input_versions_are_shown(tables: Tables, history: History) -> None:
    store(tables, "first", 3)
    export(tables, store(tables, "second", 2))
    assert history("csv_export")[0][0][3] == "pca_components 1"


def test_a_file_asset_is_shown_with_its_own_rows_and_name(tables: Tables, history: History) -> None:
    export(tables, store(tables, "first", 240))
    assert [row[4:] for row in history("csv_export")[0]] == [["240", "new pca_components.csv"]]


def test_a_file_that_was_kept_is_not_called_new(tables: Tables, history: History) -> None:
    for digest, name in (("a", "a.json"), ("a", "a.json"), ("b", "b.json")):
        write = tables.begin("embedding_quality", "run")
        statistics = QualityStatistics(digest=digest, rows=3, files=(name,), compared=9)
        commit_artifact(write, statistics)
    changes = [row[4:] for row in history("embedding_quality")[0]]
    assert changes == [["", "new b.json"], ["", "kept a.json"], ["", "new a.json"]]


def test_a_run_without_changes_creates_no_version(tables: Tables, history: History) -> None:
    store(tables, "first", 3)
    Change.none(tables.begin("pca_components", "second")).commit()
    assert [row[2] for row in history("pca_components")[0]] == ["first"]


def test_maintenance_commits_are_not_listed(tables: Tables, history: History) -> None:
    store(tables, "first", 3)
    tables.vacuum("pca_components")
    store(tables, "second", 3)
    assert [row[2] for row in history("pca_components")[0]] == ["second", "first"]


def test_only_the_latest_versions_are_shown_with_a_hint_to_the_others(
    tables: Tables, history: History
) -> None:
    for number in range(4):
        store(tables, f"run-{number}", 1)
    rows, output = history("pca_components", "--limit", "3")
    assert [row[2] for row in rows] == ["run-3", "run-2", "run-1"]
    assert output.splitlines()[-2] == "1 earlier version: --limit 4"
    assert "earlier" not in history("pca_components", "--limit", "4")[1]


def test_a_kept_file_is_recognised_beyond_the_limit(tables: Tables, history: History) -> None:
    first = store(tables, "first", 3)
    export(tables, first)
    export(tables, first)
    assert history("csv_export", "--limit", "1")[0][0][5] == "kept pca_components.csv"


def test_without_a_version_the_command_to_materialize_is_shown(history: History) -> None:
    output = " ".join(history("pca_components")[1].split())
    assert "uv run dagster asset materialize --select '*pca_components'" in output


def test_the_closest_name_is_suggested_for_an_unknown_asset(history: History) -> None:
    assert re.search("did you mean pca_components", history("pca_component")[1])


def test_the_history_of_a_real_run_has_a_version_of_each_asset(
    stored: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRUITS_STORAGE", str(stored))
    for asset, rows in (("raw_images", "240"), ("pca_model", ""), ("csv_export", "240")):
        ((version, *_, shown, change), *more) = history(asset)[0]
        assert (version, shown) == ("0", rows)
        assert change.startswith(("+240 rows", "new "))
        assert [row for row in more if row[0]] == []
