"""A version that would fail a blocking check is not committed, and the old one stays current."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fruits_assets.assets.raw_images
import spark_src.features.incremental
import spark_src.pca.project
from spark_src.images.refresh import IngestResult, read_new
from spark_src.io.locations import Location
from spark_src.tables.audit import audit_files
from spark_src.tables.delta import Snapshot

Run = Callable[..., dg.ExecuteInProcessResult]
Current = Callable[[Path, str], Snapshot]
Digests = Callable[[Path], dict[str, str]]
ErrorText = Callable[[dg.ExecuteInProcessResult], str]
Made = Callable[[dg.ExecuteInProcessResult], set[str]]
Damage = Callable[[pa.Table], pa.Table]

TABLES = ("raw_images", "rejected_images", "mobilenet_features", "pca_components")
COLUMNS = {
    "mobilenet_features": ("features", "model_sha256"),
    "pca_components": ("pca", "pca_model"),
}
"""The column of vectors and that of the model's digest."""


def lose_a_row(table: pa.Table) -> pa.Table:
    return table.slice(1)


def write_nan(table: pa.Table) -> pa.Table:
    """The first vector is not a number; the others are unchanged."""
    column = next(vector for vector, _ in COLUMNS.values() if vector in table.column_names)
    vectors = table[column].to_pylist()
    vectors[0] = [float("nan")] * len(vectors[0])
    position = table.column_names.index(column)
    return table.set_column(
        position, table.field(position), pa.array(vectors, table.field(position).type)
    )


def name_another_model(table: pa.Table) -> pa.Table:
    """The first row names a model that the others were not computed with."""
    column = next(model for _, model in COLUMNS.values() if model in table.column_names)
    models = ["0" * 64, *table[column].to_pylist()[1:]]
    position = table.column_names.index(column)
    return table.set_column(position, table.field(position), [models])


@pytest.fixture
def damage_written(monkeypatch: pytest.MonkeyPatch) -> Callable[[Damage], None]:
    """Change the first file that a run writes, before the real audit reads it."""

    def install(damage: Damage) -> None:
        def audit(session: object, files: Sequence[Location], *columns: str) -> object:
            file = files[0].path
            pq.write_table(damage(pq.read_table(file)), file)
            return audit_files(session, files, *columns)

        for module in (spark_src.features.incremental, spark_src.pca.project):
            monkeypatch.setattr(module, "audit_files", audit)

    return install


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lose_a_row, "239 rows were written, 240 were expected"),
        (write_nan, "rows with NaN or infinity: 1"),
        (name_another_model, "rows name 2 models"),
    ],
)
@pytest.mark.parametrize("asset", COLUMNS)
def test_damaged_vectors_are_not_committed_and_every_table_keeps_its_bytes(
    *,
    asset: str,
    damage: Damage,
    fault: str,
    copied: Path,
    run: Run,
    made: Made,
    current: Current,
    digests: Digests,
    error_text: ErrorText,
    damage_written: Callable[[Damage], None],
) -> None:
    if asset == "pca_components":
        run(copied, "pca_model", ops={"pca_model": {"n_components": 3}})
    before = {name: current(copied, name) for name in TABLES}
    files = digests(copied)
    damage_written(damage)
    ops = {"mobilenet_features": {"recompute": True}} if asset == "mobilenet_features" else None
    result = run(copied, f"{asset}*", ops=ops, raise_on_error=False)
    assert not result.success
    assert fault in error_text(result)
    assert made(result) == set()
    assert {name: current(copied, name) for name in TABLES} == before
    assert files.items() <= digests(copied).items()


def test_pictures_with_a_lost_row_are_not_committed(
    *,
    copied: Path,
    run: Run,
    current: Current,
    error_text: ErrorText,
    sample: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = current(copied, "raw_images")

    def lose_one(*arguments: object) -> IngestResult:
        result = read_new(*arguments)
        first, *others = result.ingested
        shorter = replace(first.written, rows=first.written.rows - 1)
        return replace(result, ingested=(replace(first, written=shorter), *others))

    monkeypatch.setattr(fruits_assets.assets.raw_images, "read_new", lose_one)
    result = run(copied, "raw_images", source=sample.parent, raise_on_error=False)
    assert not result.success
    assert "raw_images: 241 files were listed, but 240 are accounted for" in error_text(result)
    assert current(copied, "raw_images") == before
