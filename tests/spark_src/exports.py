"""Components with labels that need quoting, and their export as in the asset."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from spark_src.tables import csv
from spark_src.tables.audit import vector_statistics
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot, Tables
from spark_src.tables.parquet import new_name, write_file
from spark_src.tables.schemas import PCA_COMPONENTS
from spark_src.tables.statistics import ComponentsStatistics

Row = tuple[str, str, str | None, str | None, list[float]]

LABELS = [
    "Apple",
    "Apple, green",
    'the "best" one',
    '"',
    "two\nlines",
    "two\r\nlines",
    "return\rhere",
    " space before",
    "space after ",
    "tab\t",
    "back\\slash",
    'back\\"quote',
    "#comment",
    "Äpfel 果物 🍎",
    "=1+1",
    "a;b",
    "'",
    "NULL",
]
ROWS: list[Row] = [
    (f"id{number}", f"T/{label}/{number:02}.jpg", "Training", label, [number / 3, -1e-8, 2e9])
    for number, label in enumerate(LABELS)
]
ROWS.append(("unsplit", "Apple/1.jpg", None, "Apple", [0.1, 0.0, -0.0]))
ROWS.append(("bare", "1.jpg", None, None, [1.0, 2.0, 3.0]))


def store(tables: Tables, rows: Sequence[Row], digest: str = "digest") -> Snapshot:
    """Commit rows as `pca_components` in four files, replacing the existing ones."""
    write = tables.begin("pca_components", "run")
    names = [name for name in PCA_COMPONENTS.names if name != "pca_model"]
    full_rows = [dict(zip(names, row, strict=True)) | {"pca_model": "pca"} for row in rows]
    parts = [pa.Table.from_pylist(full_rows[n::4], schema=PCA_COMPONENTS) for n in range(4)]
    new = [
        write_file([part], write.folder, new_name(n), PCA_COMPONENTS)
        for n, part in enumerate(parts)
    ]
    found = ComponentsStatistics(
        digest=digest,
        rows=len(rows),
        pca_model="pca",
        model_sha256="model",
        n_components=3,
        vectors=vector_statistics(pa.concat_tables(parts)["pca"].combine_chunks()),
    )
    removed = [file.name for file in write.before.files] if write.before else []
    return write.commit(found, new, removed)


def export(tables: Tables, run_id: str = "run") -> Snapshot:
    """Update `csv_export` from `pca_components`."""
    change = change_of(tables, run_id)
    return change.commit()


def change_of(tables: Tables, run_id: str) -> Change:
    """The staged export, ready to be committed."""
    components = tables.current("pca_components")
    write = tables.begin("csv_export", run_id, [components])
    digest = components.statistics.digest
    if csv.is_current(write, digest):
        return Change.none(write)
    staged = csv.write_staged(components, write.location, run_id)
    found = csv.staged_statistics(staged, digest, components)
    return Change(write, found, cleanup=lambda: csv.replace_file(staged, write.location))
