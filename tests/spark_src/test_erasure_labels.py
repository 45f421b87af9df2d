"""Lines of `labels.csv` that name a person's photos are erased; all others are unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_src.erasure.label_rows import count_labels, remove_labels
from spark_src.erasure.lookup import find, require_trace
from spark_src.erasure.needles import Needles
from spark_src.erasure.scan import scan
from spark_src.erasure.target import Target
from spark_src.errors import InputError
from spark_src.images.labels import read_labels
from spark_src.io.aws import client
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables

ANNA = Target.from_names('an"na, 2')
OWN = '"photos/an""na, 2/1.jpg"'
KEPT = '\ufeffpath,label,note\r\nshop/1.jpg,"Fig,\r\ndry",\nphotos/ben/1.jpg,Pear,x'
CONTENT = KEPT.replace("\nphotos/ben", f'\n{OWN},Apple,"two\nlines"\r\n{OWN},Apple,\nphotos/ben')


@pytest.fixture
def source(tmp_path: Path) -> Location:
    root = tmp_path / "input"
    root.mkdir()
    (root / "labels.csv").write_text(CONTENT, encoding="utf-8", newline="")
    return Location.parse(str(root))


def test_only_the_persons_lines_are_removed(source: Location) -> None:
    assert count_labels(source, ANNA) == 2
    assert remove_labels(source, ANNA) == 2
    assert (source / "labels.csv").read().decode() == KEPT
    assert scan(source, Needles.from_target(ANNA, source, [])).n_hits == 0
    assert remove_labels(source, ANNA) == 0


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("columns", ["path,label", "label,path"])
def test_lines_in_the_forms_of_spreadsheets_are_removed(
    tmp_path: Path, delimiter: str, columns: str
) -> None:
    order = 1 if columns.startswith("path") else -1
    rows = [("photos/anna/1.jpg", "Fig"), ("shop/1.jpg", "Fig"), ("photos/ben/1.jpg", "Pear")]
    lines = [columns.replace(",", delimiter), *(delimiter.join(row[::order]) for row in rows)]
    (tmp_path / "labels.csv").write_text("\r\n".join(lines), newline="")
    source = Location.parse(str(tmp_path))
    assert remove_labels(source, Target.from_names("anna")) == 1
    assert read_labels(source).by_path == {"shop/1.jpg": "Fig", "photos/ben/1.jpg": "Pear"}


def test_a_folder_of_that_name_does_not_block_an_erasure(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").mkdir()
    assert remove_labels(Location.parse(str(tmp_path)), ANNA) == 0


def test_lines_of_single_pictures_are_removed_by_path(source: Location) -> None:
    target = Target(None, frozenset({"a" * 64}), frozenset({"shop/1.jpg"}))
    assert remove_labels(source, target) == 1
    assert set(read_labels(source).by_path) == {'photos/an"na, 2/1.jpg', "photos/ben/1.jpg"}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'path\n"a'])
def test_a_file_that_is_no_list_of_labels_is_not_changed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.csv").write_bytes(content)
    assert remove_labels(Location.parse(str(tmp_path)), Target.from_names("anna")) == 0
    assert (tmp_path / "labels.csv").read_bytes() == content


def test_a_link_is_neither_read_nor_changed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_bytes(CONTENT.encode())
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "labels.csv").symlink_to(outside)
    source = Location.parse(str(tmp_path / "input"))
    assert remove_labels(source, ANNA) == 0
    assert outside.read_bytes() == CONTENT.encode()
    with pytest.raises(InputError, match="symbolic link"):
        read_labels(source)


def test_a_person_named_only_there_is_found(source: Location, tmp_path: Path) -> None:
    tables = Tables(Location.parse(str(tmp_path / "data")))
    found = find(tables, source, ANNA)
    assert found.labels == 2
    require_trace(found, ANNA, tables, source)


def test_the_files_mode_is_kept(source: Location) -> None:
    file = Path(source.path, "labels.csv")
    file.chmod(0o664)
    assert remove_labels(source, ANNA) == 2
    assert file.stat().st_mode & 0o777 == 0o664


@pytest.mark.parametrize("current", [CONTENT, KEPT], ids=["named", "not named"])
def test_no_earlier_version_of_the_file_is_left_in_a_bucket(bucket: str, current: str) -> None:
    s3 = client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in ("input/labels.csv", "input/labels.csv.bak"):
        for text in (CONTENT, current):
            s3.put_object(Bucket=bucket, Key=key, Body=text.encode())
    source = Location.parse(f"s3://{bucket}/input")
    assert count_labels(source, ANNA) == remove_labels(source, ANNA) == (current == CONTENT) * 2
    versions = s3.list_object_versions(Bucket=bucket, Prefix="input/")["Versions"]
    assert [item["Key"] for item in versions] == ["input/labels.csv", *["input/labels.csv.bak"] * 2]
    assert (source / "labels.csv").read().decode() == KEPT
