"""A single embedded picture has the same numbers, or rejection reason, as in the tables."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyspark.sql import SparkSession

from spark_src.embed import _engine, embed, embedding
from spark_src.errors import InputError, PcaError, UnusablePictureError
from spark_src.features.inference import Engine
from spark_src.features.model import MobilenetModel
from spark_src.images.ingest import row_of_file
from spark_src.images.rejection import Limits
from spark_src.images.validate import DEFAULT_LIMITS
from spark_src.pca.model import PcaModel, Sums, fit_sums
from spark_src.tables.delta import Snapshot
from spark_src.tables.vectors import to_matrix
from tests.pipeline import featurize, ingest, rows_by_path, table_of, tables_in

Rows = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def features(sample_version: Snapshot) -> Rows:
    """Features of the batch by path."""
    table = table_of(sample_version)
    matrix = to_matrix(pa.concat_arrays(table["features"].chunks))
    return dict(zip(table["path"].to_pylist(), matrix, strict=True))


@pytest.fixture(scope="module")
def pca(features: Rows, mobilenet: MobilenetModel) -> PcaModel:
    """PCA fitted on the whole sample."""
    return fit_sums(Sums.from_features(np.stack(list(features.values()))), 50, mobilenet.sha256)


@pytest.fixture(scope="module")
def picture(sample: Path) -> bytes:
    """A picture of the sample."""
    return (sample / "Test" / "Cherry 2" / "103_100.jpg").read_bytes()


def rotated(picture: bytes) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A camera"
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture)).resize((90, 60)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def test_a_picture_alone_has_the_numbers_of_its_row_in_the_batch(
    sample: Path, features: Rows, mobilenet: MobilenetModel, pca: PcaModel
) -> None:
    for path in sorted(features)[::8]:
        single = embed((sample / path).read_bytes(), mobilenet, pca)
        batch = pca.project(features[path][None])[0]
        assert single.dtype == np.float32 and single.shape == (50,)
        np.testing.assert_allclose(single, batch, atol=1e-6, rtol=1e-6)


def test_a_rotated_photo_with_metadata_has_the_numbers_of_its_row(
    spark: SparkSession, mobilenet: MobilenetModel, pca: PcaModel, picture: bytes, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.jpg").write_bytes(rotated(picture))
    tables = tables_in(tmp_path / "data")
    images = ingest(spark, tables, tmp_path / "in").raw
    _, version = featurize(spark, tables, images, mobilenet)
    (row,) = rows_by_path(version).values()
    found = embedding(rotated(picture), mobilenet, pca)
    assert found.image_id == row["image_id"]
    np.testing.assert_allclose(found.features, row["features"], atol=1e-6)
    assert np.abs(found.components - embed(picture, mobilenet, pca)).max() > 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: b"", "empty_file"),
        (lambda picture: picture[:900], "truncated"),
        (lambda picture: b"GIF89a" + picture, "unsupported_format"),
        (lambda picture: b"Apples" + picture, "not_an_image"),
        (lambda picture: picture.replace(b"\xff\xc4", b"\xff\xc8"), "broken"),
    ],
)
def test_files_that_ingest_rejects_are_rejected_for_the_same_reason(
    change: Callable[[bytes], bytes],
    reason: str,
    picture: bytes,
    mobilenet: MobilenetModel,
    pca: PcaModel,
) -> None:
    content = change(picture)
    with pytest.raises(UnusablePictureError) as caught:
        embed(content, mobilenet, pca)
    row = row_of_file("1.jpg", content, DEFAULT_LIMITS)
    assert isinstance(caught.value, InputError)
    assert caught.value.reason == row["reason"] == reason
    assert row["detail"] in str(caught.value)


def test_the_limits_are_those_of_ingest(
    picture: bytes, mobilenet: MobilenetModel, pca: PcaModel
) -> None:
    with pytest.raises(UnusablePictureError) as caught:
        embed(picture, mobilenet, pca, Limits(max_pixels=9_999))
    assert caught.value.reason == "too_many_pixels"


def test_a_pca_of_another_models_features_is_refused(
    picture: bytes, mobilenet: MobilenetModel, pca: PcaModel
) -> None:
    with pytest.raises(PcaError, match="model 000000000000, but this is model"):
        embed(picture, mobilenet, replace(pca, model_sha256="0" * 64))


def test_a_model_can_be_given_as_bytes_and_is_loaded_once(
    picture: bytes,
    mobilenet: MobilenetModel,
    pca: PcaModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = []

    def load(content: bytes) -> Engine:
        loaded.append(hashlib.sha256(content).hexdigest())
        return Engine(content)

    monkeypatch.setattr("spark_src.embed.Engine", load)
    _engine.cache_clear()
    both = [embed(picture, mobilenet.content, pca) for _ in range(2)]
    np.testing.assert_array_equal(*both)
    assert loaded == [mobilenet.sha256]


def test_threads_do_not_disturb_each_other(
    sample: Path, mobilenet: MobilenetModel, pca: PcaModel
) -> None:
    pictures = [path.read_bytes() for path in sorted((sample / "Test" / "Cherry 2").iterdir())[:6]]
    sequential = [embed(content, mobilenet, pca) for content in pictures]
    with ThreadPoolExecutor(3) as threads:
        concurrent = list(threads.map(lambda content: embed(content, mobilenet, pca), pictures * 3))
    np.testing.assert_array_equal(np.stack(concurrent), np.stack(sequential * 3))
