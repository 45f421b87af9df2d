"""`labels.csv` corrects labels. Errors name the invalid line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from spark_src.errors import InputError
from spark_src.images.labels import Labels, read_labels
from spark_src.io.locations import Location


def read(folder: Path, content: str) -> Labels:
    (folder / "labels.csv").write_text(content, encoding="utf-8-sig")
    return read_labels(Location.parse(str(folder)))


def test_without_a_file_labels_come_from_folders(tmp_path: Path) -> None:
    labels = read_labels(Location.parse(str(tmp_path)))
    assert labels.digest == 0
    assert labels.label_of("Training/Apple/1.jpg") == "Apple"


def test_a_label_overrides_its_folder_and_other_columns_are_ignored(tmp_path: Path) -> None:
    labels = read(
        tmp_path,
        "label,margin,path\nPear,0.1,Training/Apple/1.jpg\nApple,1,Training/Apple/2.jpg\n"
        '"Fig, dry",1,3.jpg\n',
    )
    assert labels.by_path == {"Training/Apple/1.jpg": "Pear", "3.jpg": "Fig, dry"}
    assert labels.label_of("Training/Apple/2.jpg") == "Apple"
    known = pa.table(
        {"path": ["Training/Apple/1.jpg", "Training/Apple/2.jpg"], "label": ["Apple"] * 2}
    )
    assert labels.differ_from(known).to_pylist() == [True, False]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "does not have the columns"),
        ("path;label\na;b\n", "does not have the columns"),
        ("path,label\n1.jpg,\n", "line 2 has no path or no label"),
        ("path,label\n1.jpg,Fig\n1.jpg,Pear\n", "line 3 has a second label for the same path"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    content: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=rf"labels\.csv cannot be used: .*{reason}"):
        read(tmp_path, content)
