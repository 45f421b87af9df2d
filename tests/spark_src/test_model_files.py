"""The stored model is read unchanged, or rejected."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from spark_src.errors import UnreadableVersionError
from spark_src.features import files
from spark_src.features.model import MobilenetModel
from spark_src.tables.change import Change
from spark_src.tables.delta import Snapshot
from spark_src.tables.statistics import MobilenetModelStatistics
from tests.pipeline import tables_in

MODEL = MobilenetModel(b"a model of a few bytes", "weights", 0.35, 0.0005)


@pytest.fixture
def stored(tmp_path: Path) -> Snapshot:
    """A version of `mobilenet_model`."""
    write = tables_in(tmp_path).begin("mobilenet_model", "run")
    name = files.save(MODEL, write.location)
    return Change(write, files.statistics(MODEL, "converter", name)).commit()


def change_a_byte(file: Path) -> str:
    """Overwrite the file; return the digest of its new content."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def model_file(stored: Snapshot) -> Path:
    return Path(files.model_file(stored).path)


def test_a_model_comes_back_from_its_file_and_its_statistics(stored: Snapshot) -> None:
    assert files.load(stored) == MODEL


def test_the_file_is_named_by_its_digest(stored: Snapshot) -> None:
    assert model_file(stored).name == f"{MODEL.sha256}.tflite"
    assert stored.data_location == files.model_file(stored)


def test_a_version_records_the_source_of_the_model(stored: Snapshot) -> None:
    known = stored.typed(MobilenetModelStatistics)
    assert known.digest == known.sha256 == MODEL.sha256
    assert (known.weights_sha256, known.converter) == ("weights", "converter")
    assert (known.input_size, known.width_multiplier) == (224, 0.35)
    assert known.greatest_difference == 0.0005


def test_a_file_with_a_changed_byte_is_refused_with_both_digests(stored: Snapshot) -> None:
    found = change_a_byte(model_file(stored))
    with pytest.raises(UnreadableVersionError, match=rf"sha256 is {found}, not {MODEL.sha256}"):
        files.load(stored)


def test_a_missing_model_file_is_reported_with_the_remedy(stored: Snapshot) -> None:
    model_file(stored).unlink()
    with pytest.raises(
        UnreadableVersionError, match=r"\.tflite is missing\. .*--select mobilenet_model"
    ):
        files.load(stored)


def test_the_file_is_kept_while_weights_and_converter_are_the_same(stored: Snapshot) -> None:
    assert files.is_unchanged(stored, "weights", "converter")
    assert not files.is_unchanged(stored, "other weights", "converter")
    assert not files.is_unchanged(stored, "weights", "another converter")
    assert not files.is_unchanged(None, "weights", "converter")


def test_a_changed_or_missing_file_is_converted_again(stored: Snapshot) -> None:
    change_a_byte(model_file(stored))
    assert not files.is_unchanged(stored, "weights", "converter")
    model_file(stored).unlink()
    assert not files.is_unchanged(stored, "weights", "converter")
