"""`labels.csv` corrects labels. Errors name the invalid line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from spark_src.errors import InputError
from spark_src.images.labels import Labels, read_labels
from spark_src.io.locations import Location
from spark_src.tables.csv import for_spreadsheets


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
    "content",
    [
        "path,label\r\n1.jpg,Pear\r\n2.jpg,\r\n\r\n1.jpg,Pear\r\n",
        "\ufeffpath;label\n1.jpg;Pear\n",
        "label\tscore\tpath\nPear\t0,5\t1.jpg\n",
        '"Path" , "Label"\n"1.jpg" , Pear\n',
    ],
    ids=["Windows", "semicolons and a byte order mark", "tabs", "spaces and capitals"],
)
def test_files_as_spreadsheets_save_them_are_read(content: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(content.encode())
    assert read_labels(Location.parse(str(tmp_path))).by_path == {"1.jpg": "Pear"}


def test_a_list_for_spreadsheets_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "path": ["photos/4711/=1+1.jpg", "=2.jpg", "'3.jpg", 'a, "b".jpg', "-4.jpg"],
            "score": np.linspace(0, 1, 5),
            "label": ["Fig", "@home", "'Fig", "", "+"],
        }
    )
    content = for_spreadsheets(rows)
    assert b"\n'=2.jpg," in content
    (tmp_path / "labels.csv").write_bytes(content)
    found = read_labels(Location.parse(str(tmp_path))).by_path
    filled = rows[rows["label"] != ""]
    assert found == dict(zip(filled["path"], filled["label"], strict=True))


def test_corrections_of_files_that_are_not_in_the_input_are_counted(tmp_path: Path) -> None:
    labels = read(tmp_path, "path,label\n1.jpg,Fig\n2.jpg,Fig\n")
    found = labels.among(pa.chunked_array([["0.jpg", "2.jpg"]]))
    assert (found.by_path, found.n_unknown) == ({"2.jpg": "Fig"}, 1)
    assert found.digest != labels.digest


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "does not have the columns"),
        ("path,labels\na,b\n", "does not have the columns"),
        ("path,label\n,Fig\n", "line 2 has a label but no path"),
        ("path,label\n1.jpg,Fig\n1.jpg,Pear\n", "line 3 has a second label for the same path"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    content: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=rf"labels\.csv cannot be used: .*{reason}"):
        read(tmp_path, content)
