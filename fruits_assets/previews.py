"""UI previews of a version: contact sheets, plots and first rows, all of bounded size.

Dagster keeps metadata permanently, even after an erasure, so possibly personal data is shown only
if a setting allows it.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import pyarrow as pa

from fruits_assets.metadata import Metadata, rows_table
from spark_src.evaluation.folds import rotation_axis
from spark_src.images.layout import may_be_personal, split_and_label
from spark_src.pca.fit import load_current
from spark_src.pca.model import SHARES
from spark_src.spark import progress
from spark_src.tables.csv import FILE
from spark_src.tables.delta import Snapshot, Tables
from spark_src.tables.registry import RAW_IMAGES
from spark_src.tables.sampling import sample_rows
from spark_src.tables.schemas import KEYS
from spark_src.tables.statistics import (
    ComponentsStatistics,
    FeaturesStatistics,
    VectorStatistics,
)
from spark_src.tables.vectors import FEATURES, to_matrix

if TYPE_CHECKING:
    from spark_src import plots

LABELS, ROWS, VECTORS, QUERIES, NEIGHBOURS, LINES = 144, 16_384, 4_096, 6, 5, 5
CSV_COLUMNS = ("path", "split", "label", "pca_0", "pca_1", "pca_2")
MAX_CELL = 60
"""Maximum characters per cell, so that a table fits the page."""
MIN_RATES = 3
"""A plot of fewer rates over time shows nothing that the mean does not."""


@dataclass(frozen=True)
class Gallery:
    """Access to the rows that may be shown."""

    tables: Tables
    show_photos: bool = False

    def may_show(self, row: dict[str, Any]) -> bool:
        """Whether a row may be shown: it is not personal, or the setting allows all."""
        return self.show_photos or not may_be_personal(row["path"], row["split"])

    def pictures(self, images: Snapshot | None) -> list[dict[str, Any]]:
        """A sample of the pictures that may be shown, as rows."""
        table = sample_rows(images, [*KEYS, "content", "orientation"], ROWS) if images else None
        return [row for row in _rows(table) if self.may_show(row)]

    def rejected(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        """The first rejected files, with paths (possibly personal) only if allowed."""
        columns = ["path", "bytes", "reason", "detail"] if self.show_photos else ["bytes", "reason"]
        return _rows(sample_rows(snapshot, columns, LINES))

    def csv_rows(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        """The first columns of the CSV file's first rows, without rows that may not be shown."""
        file = snapshot.location / FILE
        with file.filesystem.open_input_stream(file.path) as stream:
            reader = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8", newline=""))
            rows = [row for row in islice(reader, LINES) if self.may_show(row)]
        return [{name: row[name] for name in CSV_COLUMNS if name in row} for row in rows]


def raw_images(gallery: Gallery, snapshot: Snapshot) -> Metadata:
    """One picture per label."""
    rows = gallery.pictures(snapshot)
    if not rows:
        return {"one picture of each label": hidden()}
    return {"one picture of each label": image(one_of_each_label(rows), "one of each label")}


def one_of_each_label(rows: Iterable[dict[str, Any]]) -> bytes:
    """A contact sheet with the first picture of each label; rows as from `Gallery.pictures`."""
    from spark_src import plots  # Matplotlib takes 0.7 s

    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        first.setdefault(row["label"] or "(none)", row)
    chosen = [(label, row["content"], row["orientation"]) for label, row in sorted(first.items())]
    return plots.contact_sheet(chosen[:LABELS])


def rejected_images(gallery: Gallery, snapshot: Snapshot) -> Metadata:
    """The first rejected files; paths are hidden if they may be personal."""
    rows = gallery.rejected(snapshot)
    return {"first rejected files": table_of(rows)} if rows else {}


def mobilenet_features(gallery: Gallery, snapshot: Snapshot) -> Metadata:
    """Nearest neighbours of some pictures, a histogram of the features, and the throughput."""
    from spark_src import plots  # Matplotlib takes 0.7 s

    rates = _throughput(snapshot)
    if not _sound(snapshot.typed(FeaturesStatistics).vectors, FEATURES):
        return rates
    table = sample_rows(snapshot, ["image_id", "features"], VECTORS)
    if table is None:
        return rates
    vectors = to_matrix(table["features"].combine_chunks())
    histogram = image(plots.histogram(vectors.ravel()), "histogram")
    return {
        "nearest neighbours": _neighbours(gallery, table["image_id"].to_pylist(), vectors),
        "histogram of the features": histogram,
        **rates,
    }


def _throughput(snapshot: Snapshot) -> Metadata:
    """Images per second over the run; nothing if the run was too short to plot them."""
    from spark_src import plots  # Matplotlib takes 0.7 s

    points = snapshot.typed(FeaturesStatistics).progress
    if not points:
        return {}
    edges, rates = progress.rates(points)
    if len(rates) < MIN_RATES:
        return {}
    drawn = plots.throughput(edges, rates, images=points[-1][1])
    return {"images per second over the run": image(drawn, "images per second")}


def _neighbours(
    gallery: Gallery, image_ids: Sequence[str], vectors: np.ndarray[Any, Any]
) -> dg.MarkdownMetadataValue:
    """One row for each of a few pictures: the picture (the query) and its nearest neighbours."""
    from spark_src import plots  # Matplotlib takes 0.7 s

    shown = {row["image_id"]: row for row in gallery.pictures(gallery.tables.find(RAW_IMAGES))}
    known = [index for index, name in enumerate(image_ids) if name in shown]
    if len(known) <= NEIGHBOURS:
        return hidden()
    rows = [shown[image_ids[index]] for index in known]
    units = vectors[known]
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
    by_path = np.argsort([row["path"] for row in rows], kind="stable")
    sheet = []
    for query in by_path[np.linspace(0, len(rows) - 1, QUERIES).astype(int)]:
        cosines = units @ units[query]
        sheet.append(_captioned(rows[query], "query", framed=True))
        sheet += [
            _captioned(rows[index], f"cosine {cosines[index]:.3f}")
            for index in nearest_of_each_film(int(query), cosines, rows)
        ]
    return image(plots.captioned_sheet(sheet, NEIGHBOURS + 1), "a query and its neighbours")


def nearest_of_each_film(
    query: int, cosines: np.ndarray[Any, Any], rows: Sequence[dict[str, Any]]
) -> list[int]:
    """The nearest picture of each of the nearest films.

    Frames of the query's own film are always similar, so they come last.
    """
    order = [int(index) for index in np.argsort(-cosines, kind="stable") if index != query]
    seen = {film_of(rows[query]["path"])}
    first: list[int] = []
    others: list[int] = []
    for index in order:
        film = film_of(rows[index]["path"])
        (others if film in seen else first).append(index)
        seen.add(film)
    return (first + others)[:NEIGHBOURS]


def film_of(path: str) -> tuple[str, str]:
    """The film of a fruit on a turntable that a picture is a frame of; otherwise the picture.

    Its folder names the fruit: a corrected label does not move a frame to another film.
    """
    _, fruit = split_and_label(path)
    return fruit or "", rotation_axis(path) or path


def _captioned(row: dict[str, Any], text: str, framed: bool = False) -> plots.Captioned:
    from spark_src import plots  # Matplotlib takes 0.7 s

    captions = (row["label"] or "(none)", text)
    return plots.Captioned(row["content"], row["orientation"], captions, framed)


def pca_model(_: Gallery, snapshot: Snapshot) -> Metadata:
    """A scree plot of the explained variance."""
    from spark_src import plots  # Matplotlib takes 0.7 s

    model = load_current(snapshot)
    ratios, share = model.explained_variance_ratio, SHARES[0]
    reached = np.flatnonzero(np.cumsum(ratios) >= share)
    needed = int(reached[0]) + 1 if len(reached) else None
    drawn = plots.scree(ratios, model.n_components, needed, share)
    return {"explained variance by component": image(drawn, "explained variance")}


def pca_components(_: Gallery, snapshot: Snapshot) -> Metadata:
    """A map of the first two components."""
    from spark_src import plots  # Matplotlib takes 0.7 s

    known = snapshot.typed(ComponentsStatistics)
    n_components = known.n_components
    if n_components < 2 or not _sound(known.vectors, n_components):
        return {}
    table = sample_rows(snapshot, ["label", "pca"], VECTORS)
    if table is None:
        return {}
    points = np.array([vector[:2] for vector in table["pca"].to_pylist()], np.float32)
    labels = [label or "" for label in table["label"].to_pylist()]
    drawn = plots.label_map(points, labels)
    return {"map of the first two components": image(drawn, "map of the pictures")}


def csv_export(gallery: Gallery, snapshot: Snapshot) -> Metadata:
    """The first rows and columns of the file."""
    rows = gallery.csv_rows(snapshot)
    return {"first rows": table_of(rows) if rows else hidden()}


def _sound(vectors: VectorStatistics, length: int) -> bool:
    """Whether every vector can be plotted; otherwise a check reports the problem."""
    lengths = {vectors.shortest, vectors.longest}
    return lengths == {length} and not vectors.nulls and not vectors.not_finite


def _rows(table: pa.Table | None) -> list[dict[str, Any]]:
    return table.to_pylist() if table else []


def image(content: bytes, title: str) -> dg.MarkdownMetadataValue:
    """A WebP picture as metadata."""
    data = base64.b64encode(content).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/webp;base64,{data})")


def hidden() -> dg.MarkdownMetadataValue:
    """The placeholder for photos that may not be shown."""
    return dg.MetadataValue.md("Photos are not shown; FRUITS_SHOW_PHOTOS=true shows them.")


def table_of(rows: Sequence[dict[str, Any]]) -> dg.TableMetadataValue:
    """Rows as a table of strings."""
    cells = [{name: str(value)[:MAX_CELL] for name, value in row.items()} for row in rows]
    return rows_table(cells, dict.fromkeys(rows[0], "string"))
