"""A stored PCA model is read unchanged, or rejected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_src.errors import UnreadableVersionError
from spark_src.io.locations import Location
from spark_src.pca.files import FILE, SCHEMA, StoredSums, load, load_sums, save, save_sums
from spark_src.pca.model import PcaModel, Sums, fit_sums


@pytest.fixture(scope="module")
def model() -> PcaModel:
    features = np.random.default_rng(5).random((30, 1280))
    return fit_sums(Sums.from_features(features), 4, "digest")


@pytest.fixture
def folder(tmp_path: Path) -> Location:
    (tmp_path / "a b#c%20[1]").mkdir()
    return Location.parse(str(tmp_path / "a b#c%20[1]"))


def test_a_saved_model_is_loaded_unchanged(model: PcaModel, folder: Location) -> None:
    save(model, folder)
    loaded = load(folder)
    np.testing.assert_array_equal(loaded.mean, model.mean)
    np.testing.assert_array_equal(loaded.components, model.components)
    np.testing.assert_array_equal(loaded.explained_variance_ratio, model.explained_variance_ratio)
    assert (loaded.n_images, loaded.model_sha256) == (30, "digest")
    assert loaded.digest == model.digest


def test_the_loaded_model_projects_as_the_saved_one(model: PcaModel, folder: Location) -> None:
    save(model, folder)
    features = np.random.default_rng(6).random((3, 1280), np.float32)
    np.testing.assert_array_equal(load(folder).project(features), model.project(features))


def test_a_missing_file_is_named_with_its_remedy(folder: Location) -> None:
    with pytest.raises(UnreadableVersionError, match=r"pca_model\.parquet cannot be read") as error:
        load(folder)
    assert str(folder) in str(error.value)
    assert "uv run fruits run --select 'pca_model+' --set pca_model.refit=true" in str(error.value)


@pytest.mark.parametrize("kept", [0, 3, 2000, -9])
def test_a_truncated_file_is_refused(model: PcaModel, folder: Location, kept: int) -> None:
    save(model, folder)
    file = Path(folder.path, FILE)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UnreadableVersionError):
        load(folder)


def test_a_file_with_changed_bytes_in_its_data_is_refused(
    model: PcaModel, folder: Location
) -> None:
    save(model, folder)
    file = Path(folder.path, FILE)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    file.write_bytes(content)
    with pytest.raises(UnreadableVersionError):
        load(folder)


@pytest.mark.parametrize(
    "table", [pa.table({"other": [1]}), SCHEMA.empty_table()], ids=["other columns", "no row"]
)
def test_a_parquet_file_with_another_schema_is_refused(folder: Location, table: pa.Table) -> None:
    pq.write_table(table, Path(folder.path, FILE))
    with pytest.raises(UnreadableVersionError):
        load(folder)


@pytest.mark.parametrize("split", ["Training", None])
def test_saved_sums_are_loaded_unchanged(folder: Location, split: str | None) -> None:
    sums = Sums.from_features(np.random.default_rng(5).random((30, 1280)))
    stored = StoredSums(sums, frozenset({"a.parquet", "ä b.parquet"}), split)
    save_sums(stored, folder / "sums.npz")
    loaded = load_sums(folder / "sums.npz")
    assert (loaded.files, loaded.split, loaded.sums.n_images) == (stored.files, split, 30)
    np.testing.assert_array_equal(loaded.sums.total, sums.total)
    np.testing.assert_array_equal(loaded.sums.gram, sums.gram)


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_sums_that_cannot_be_read_are_named_with_their_remedy(
    folder: Location, content: bytes | None
) -> None:
    if content is not None:
        Path(folder.path, "sums.npz").write_bytes(content)
    with pytest.raises(
        UnreadableVersionError, match=r"sums\.npz cannot be read .*pca_model\.refit=true"
    ):
        load_sums(folder / "sums.npz")


def test_truncated_or_changed_sums_are_refused(folder: Location) -> None:
    sums = Sums.from_features(np.random.default_rng(5).random((30, 1280)))
    file = Path(folder.path, "sums.npz")
    save_sums(StoredSums(sums, frozenset(), None), folder / "sums.npz")
    whole = file.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    for content in (whole[: len(whole) // 2], bytes(changed)):
        file.write_bytes(content)
        with pytest.raises(UnreadableVersionError):
            load_sums(folder / "sums.npz")
