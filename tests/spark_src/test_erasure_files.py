"""Erasing deletes all files of a person from the input, for any name, and no others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spark_src.erasure.inputs import find_traces, remove_inputs
from spark_src.erasure.target import Target, subject_in_tables
from spark_src.errors import ErasureError
from spark_src.images.listing import list_files
from spark_src.io.aws import client
from spark_src.io.locations import Location

ANNA = Target.from_names("anna")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "input"
    for name in ("photos/anna/1.jpg", "photos/anna/Apple/2.jpg", "photos/anna-2/1.jpg", "a/1.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"picture")
    return folder


def location(folder: Path) -> Location:
    return Location.parse(str(folder))


def left_in(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_files_litter_and_empty_folders_of_only_the_person_are_deleted(source: Path) -> None:
    (source / "photos/anna/.DS_Store").write_bytes(b"litter")
    (source / "photos/anna/empty").mkdir()
    assert remove_inputs(location(source), ANNA) == 3
    assert left_in(source) == ["a/1.jpg", "photos/anna-2/1.jpg"]
    assert not (source / "photos/anna").exists()


def test_links_are_deleted_and_not_followed(source: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "document.txt").write_text("of somebody")
    (source / "photos/anna/folder").symlink_to(outside)
    (source / "photos/anna/file.jpg").symlink_to(outside / "document.txt")
    assert remove_inputs(location(source), ANNA) == 4
    assert (outside / "document.txt").read_text() == "of somebody"
    assert not (source / "photos/anna").exists()


@pytest.mark.parametrize("linked", ["photos", "photos/anna"])
def test_a_linked_folder_is_not_followed(source: Path, tmp_path: Path, linked: str) -> None:
    moved = tmp_path / "elsewhere"
    (source / linked).rename(moved)
    (source / linked).symlink_to(moved)
    remove_inputs(location(source), ANNA)
    assert "1.jpg" in {file.name for file in moved.rglob("*")}


@pytest.mark.parametrize("path", ["../outside/document.txt", "/etc/hosts", "a/../../x"])
def test_a_path_in_a_request_outside_the_input_is_refused(source: Path, path: str) -> None:
    target = Target(None, frozenset({"a" * 64}), frozenset({path}))
    with pytest.raises(ErasureError, match=r"absolute or contain `\.\.`"):
        remove_inputs(location(source), target)
    assert len(left_in(source)) == 4


def test_a_path_through_a_link_in_a_request_deletes_nothing(source: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/1.jpg").write_bytes(b"of somebody")
    (source / "b").symlink_to(tmp_path / "outside")
    target = Target(None, frozenset({"a" * 64}), frozenset({"b/1.jpg"}))
    assert remove_inputs(location(source), target) == 0
    assert (tmp_path / "outside/1.jpg").exists()


def test_names_of_any_bytes_and_any_depth_are_found_and_deleted(source: Path) -> None:
    folder = os.fsencode(source) + b"/photos/anna"
    for name in (b"\xff\xfe.jpg", b"new\nline.jpg", b" .jpg", b'"quoted".jpg'):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(b"picture")
    deep = os.open(folder, os.O_RDONLY)
    for _ in range(1200):  # a path of 6,000 bytes, above the system limit
        os.mkdir("deep", dir_fd=deep)
        below = os.open("deep", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(os.open("last.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=deep))
    os.close(deep)
    found = find_traces(location(source), ANNA)
    assert "photos/anna/\\xff\\xfe.jpg" in found.files
    assert remove_inputs(location(source), ANNA) == 7
    assert left_in(source) == ["a/1.jpg", "photos/anna-2/1.jpg"]


def test_a_single_file_is_deleted_by_its_name_in_the_tables(source: Path) -> None:
    raw = os.fsencode(source) + b"/a/\xff.jpg"
    Path(os.fsdecode(raw)).write_bytes(b"picture")
    target = Target(None, frozenset({"a" * 64}), frozenset({"a/\\xff.jpg"}))
    other = source / "a/\\xff.jpg"
    other.write_bytes(b"another person's file with a similar name")
    assert remove_inputs(location(source), target) == 1
    assert not os.path.exists(raw)
    assert other.exists()


@pytest.mark.parametrize("name", ["anna\\x41", "anna\\xe9", "anna\\x5cx41", "anna\\"])
def test_a_folder_with_backslashes_has_its_name_in_the_listing(source: Path, name: str) -> None:
    photo = source / "photos" / name / "1.jpg"
    photo.parent.mkdir()
    photo.write_bytes(b"picture")
    listed = list_files(location(source)).files["path"].to_pylist()
    target = Target.from_names(subject_in_tables(name, location(source)))
    (path,) = [path for path in listed if target.owns(path)]
    assert find_traces(location(source), target).files == [path]
    assert remove_inputs(location(source), target) == 1
    assert not photo.parent.exists()


def test_a_subject_that_is_not_utf8_is_accepted_from_the_shell(source: Path) -> None:
    raw = os.fsencode(source) + b"/photos/ann\xe9/1.jpg"
    os.makedirs(os.path.dirname(raw))
    Path(os.fsdecode(raw)).write_bytes(b"picture")
    target = Target.from_names(os.fsdecode(b"ann\xe9"))
    assert find_traces(location(source), target).files == ["photos/ann\\xe9/1.jpg"]
    assert remove_inputs(location(source), target) == 1
    assert not os.path.exists(os.path.dirname(raw))


def test_objects_are_deleted_with_every_version_whatever_their_keys_are(bucket: str) -> None:
    s3 = client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    keys = ["photos/anna/1.jpg", "photos/anna//2.jpg", "photos/anna", "photos/anna/", "photos/ann"]
    for key in (*keys, "photos//3.jpg", keys[0]):
        s3.put_object(Bucket=bucket, Key=f"input/{key}", Body=b"picture")
    s3.delete_object(Bucket=bucket, Key="input/photos/anna//2.jpg")
    source = Location.parse(f"s3://{bucket}/input")
    found = find_traces(source, ANNA)
    assert sorted(found.files) == ["photos/anna", "photos/anna/", "photos/anna/1.jpg"]
    assert found.earlier == 3
    assert remove_inputs(source, ANNA) == 6
    listed = s3.list_object_versions(Bucket=bucket)
    assert sorted(item["Key"] for item in listed["Versions"]) == [
        "input/photos//3.jpg",
        "input/photos/ann",
    ]
    assert "DeleteMarkers" not in listed


@pytest.mark.parametrize("subject", ["", ".", "..", "a/b", "/etc", "a\0b"])
def test_an_invalid_subject_is_refused(subject: str) -> None:
    with pytest.raises(ErasureError):
        Target.from_names(subject)


def test_an_invalid_image_id_is_refused() -> None:
    with pytest.raises(ErasureError, match="is not an image id"):
        Target.from_names(None, ["photos/anna/1.jpg"])
