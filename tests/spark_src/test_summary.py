"""The summary of an input: splits, labels, ignored files and likely mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_src.errors import InputError
from spark_src.images.listing import list_files
from spark_src.images.refresh import require_separate
from spark_src.images.summary import Summary, summarise
from spark_src.io.locations import Location


def summary(folder: Path, *paths: str) -> Summary:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")
    return summarise(list_files(Location.parse(str(folder))))


def test_splits_labels_and_litter_are_counted(tmp_path: Path) -> None:
    training = [f"Training/{label}/{n}.jpg" for label in ("Apple", "Cherry") for n in range(600)]
    found = summary(
        tmp_path, *training, "test/Apple/1.jpg", "test/.DS_Store", ".DS_Store", "test/Apple/1.xmp"
    )
    assert str(found) == (
        "1,201 pictures: splits Training 1,200, Test 1; 2 labels; "
        "3 ignored (.DS_Store 2, sidecars 1)"
    )
    assert found.warning is None


@pytest.mark.parametrize("name", ["train", "Train", "TRAINING", "valid", "Validation", "tEST"])
def test_names_of_splits_are_known_in_any_case(tmp_path: Path, name: str) -> None:
    found = summary(tmp_path, f"{name}/Apple/1.jpg")
    assert list(found.splits) == [
        {"tr": "Training", "va": "Validation"}.get(name[:2].lower(), "Test")
    ]


@pytest.mark.parametrize("name", ["Apple", "2024", "tests", "training set", "fruits-360"])
def test_other_folders_are_not_splits(tmp_path: Path, name: str) -> None:
    found = summary(tmp_path, f"{name}/Apple/1.jpg")
    assert (found.splits, found.n_labels) == ({}, 1)
    assert str(found) == "1 picture: no splits; 1 label"


def test_a_split_without_folders_of_labels_has_no_label(tmp_path: Path) -> None:
    found = summary(tmp_path, "Training/1.jpg", "Test/2.jpg")
    assert (found.splits, found.n_labels) == ({"Training": 1, "Test": 1}, 0)


def test_folders_above_the_splits_are_named_with_the_remedy(tmp_path: Path) -> None:
    found = summary(
        tmp_path, "data/fruits-360/Training/Apple/1.jpg", "data/fruits-360/Test/A/1.jpg"
    )
    assert found.warning == (
        "The split folders are under data/fruits-360, not at the top of the input, so no picture "
        f"has a split. Set FRUITS_INPUT to {tmp_path}/data/fruits-360."
    )


def test_people_are_counted_and_never_named(tmp_path: Path) -> None:
    found = summary(tmp_path, "Photos/Ada/test/1.jpg", "photos/Bob/1.jpg", "old/photos/Eve/1.jpg")
    assert (found.n_photos, found.n_labels, found.warning) == (3, 1, None)
    assert not any(name in str(found) for name in ("Ada", "Bob", "Eve"))


@pytest.mark.parametrize(
    ("source", "storage", "message"),
    [
        ("in", "in/data", "storage .* is inside the input"),
        ("in", "in", "storage .* is inside the input"),
        ("data/in", "data", "input .* is inside the storage"),
        ("link", "in/data", "storage .* is inside the input"),
        ("s3://b/in", "s3://b/in/data", "storage .* is inside the input"),
    ],
)
def test_input_and_storage_must_not_contain_each_other(
    tmp_path: Path, source: str, storage: str, message: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    places = [name if "://" in name else str(tmp_path / name) for name in (source, storage)]
    with pytest.raises(InputError, match=message):
        require_separate(*map(Location.parse, places))


def test_sibling_folders_with_a_common_name_prefix_are_accepted(tmp_path: Path) -> None:
    require_separate(
        Location.parse(str(tmp_path / "in")), Location.parse(str(tmp_path / "in-data"))
    )
