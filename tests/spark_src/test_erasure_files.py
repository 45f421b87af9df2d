"""Erasing deletes all files of a person from the input, for any name, and no others."""

from __future__ import annotations

import base64
import bz2
import functools
import gzip
import html
import io
import json
import lzma
import os
import sqlite3
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_src.erasure.inputs import find_traces, remove_inputs
from spark_src.erasure.needles import Needles
from spark_src.erasure.scan import scan
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


ODD = 'an"na, \\ the\n2nd é'
PATH = f"photos/{ODD}/1.jpg"
LETTERS = base64.b64encode(os.urandom(60_000)).decode()


def npz() -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, files=np.array(["a", PATH]), n=np.zeros(3))
    return content.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr(name, content)
    return archive.getvalue()


def parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()


def sqlite(value: bytes) -> bytes:
    with sqlite3.connect(":memory:") as database:
        database.execute("create table snapshots (body blob)")
        database.execute("insert into snapshots values (?)", [value])
    return database.serialize()


FORMATS = {
    "plain.txt": f"seen in {PATH}".encode(),
    "quoted.txt": b"seen in photos/an%22na%2C%20%5C%20the%0A2nd%20%C3%A9/1.jpg",
    "log.json": json.dumps({"a": [{"b": json.dumps({"path": PATH})}]}).encode(),
    "key.json": (json.dumps({"a": 1}) + "\n" + json.dumps({PATH: 1})).encode(),
    "table.csv": ('id,path\n1,"' + PATH.replace('"', '""') + '"\n').encode(),
    "sums.npz": npz(),
    "log.gz": gzip.compress(f"seen in {PATH}".encode()),
    "log.bz2": bz2.compress(PATH.encode()),
    "log.xz": lzma.compress(PATH.encode()),
    "log.zst": pa.compress(PATH.encode() * 9, "zstd", asbytes=True),
    "blob": zlib.compress(PATH.encode()),
    "records.db": sqlite(zlib.compress(json.dumps({"path": PATH}).encode())),
    "pages.html": html.escape(f"<a>{PATH}").encode(),
    "repr.txt": repr([PATH]).encode(),
    "table.parquet": parquet(pa.table({"path": ["a", PATH, None]})),
    ".table.parquet.1234": parquet(pa.table({"path": pa.array([PATH]).dictionary_encode()})),
    "nested.parquet": parquet(pa.table({"a": [[{"b": PATH}]]})),
    "map.parquet": parquet(pa.table({"a": pa.array([[(PATH, 1)]], pa.map_("string", "int64"))})),
    "footer.parquet": parquet(pa.table({"a": [1]}).replace_schema_metadata({"seen": PATH})),
    "broken.parquet": b"PAR1\0" + PATH.encode(),
    "broken.json": b"{" + PATH.encode(),
    "query.txt": b"?path=photos%2Fan%22na%2C%20%5C%20the%0A2nd%20%C3%A9%2F1.jpg",
    "form.txt": b"s3%3A%2F%2Fb%2Fphotos%2Fan%22na%2C+%5C+the%0A2nd+%C3%A9%2F1.jpg",
    "notice.txt": b'"key":"input/photos/an%22na%2C+%5C+the%0A2nd+%C3%A9/1.jpg"',
    "escaped.txt": b"first" + json.dumps(f"\n{PATH}").encode(),
    "cut-off.gz": gzip.compress(f"{PATH} {LETTERS}".encode())[:-99],
    "cut-off.bz2": bz2.compress(f"{PATH} {LETTERS}".encode() * 20)[:-99],
    "cut-off.zlib": zlib.compress(f"{PATH} {LETTERS}".encode())[:-99],
    "two.json.gz": gzip.compress(json.dumps({"a": "\u0070hotos/" + ODD + "/"}).encode()),
    "members.gz": gzip.compress(b"first ") + gzip.compress(PATH.encode()),
    "inner.zip": zipped("a.parquet", parquet(pa.table({"path": [PATH]}))),
    "inner.npz": gzip.compress(npz()),
    "inner.gz": gzip.compress(zipped("b.gz", gzip.compress(PATH.encode()))),
    "ids.txt": b"0123" + b"c" * 64 + b"0123",
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_scan_decodes_each_format(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(FORMATS[name])
    target = Target.from_names(ODD)
    needles = Needles.from_target(target, location(tmp_path), ["c" * 64])
    assert scan(location(tmp_path), needles).hits == (str(tmp_path / name),)
    others = Needles.from_target(Target.from_names("an"), location(tmp_path), ["d" * 64])
    assert scan(location(tmp_path), others).n_hits == 0


@pytest.mark.parametrize("at_once", [1, 2**20])
def test_the_scan_decodes_each_format_in_a_bucket(
    bucket: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spark_src.erasure.files._BYTES_AT_ONCE", at_once)
    for name, content in FORMATS.items():
        for key in (name, f"folder//{name}"):
            client("s3").put_object(Bucket=bucket, Key=key, Body=content)
    root = Location.parse(f"s3://{bucket}")
    needles = Needles.from_target(Target.from_names(ODD), root, ["c" * 64])
    assert len(scan(root, needles).hits) == 2 * len(FORMATS)


def encrypted() -> bytes:
    """A zip file with a member for which a password would be needed."""
    content = bytearray(zipped("secret.txt", b"secret"))
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(header) + flags] |= 1
    return bytes(content)


def huge_array() -> bytes:
    header = io.BytesIO()
    fields = {"descr": "<U9", "fortran_order": False, "shape": (10**13,)}
    np.lib.format.write_array_header_1_0(header, fields)
    return zipped("a.npy", header.getvalue())


HOSTILE = {
    "encrypted.zip": encrypted(),
    "huge.npz": huge_array(),
    "deep.json": b"[" * 200_000,
    "deep.db": sqlite(b"[" * 200_000),
    "endless.gz": functools.reduce(lambda inner, _: gzip.compress(inner), range(50), b"end"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_does_not_stop_the_scan(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HOSTILE[name])
    (tmp_path / "plain.txt").write_bytes(PATH.encode())
    needles = Needles.from_target(Target.from_names(ODD), location(tmp_path), [])
    assert scan(location(tmp_path), needles).hits == (str(tmp_path / "plain.txt"),)


def test_a_compressed_file_is_not_decompressed_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(zlib.compress(bytes(150 * 2**20)))
    needles = Needles.from_target(ANNA, location(tmp_path), [])
    tracemalloc.start()
    assert scan(location(tmp_path), needles).n_hits == 0
    assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    tracemalloc.stop()


def test_the_scan_reads_names_of_files_and_folders_and_targets_of_links(tmp_path: Path) -> None:
    (tmp_path / "photos/anna").mkdir(parents=True)
    (tmp_path / "link").symlink_to("/somewhere/photos/anna/1.jpg")
    (tmp_path / "other/photos/anna").mkdir(parents=True)
    (tmp_path / "other/photos/anna/1.jpg").write_bytes(b"")
    found = scan(location(tmp_path), Needles.from_target(ANNA, location(tmp_path), []))
    assert found.named_hits == 3
    assert found.hits == (str(tmp_path / "link"),)


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("Apple/1.jpg", True),
        ('{"Apple/1.jpg"', True),
        ("seen in Apple/1.jpg.", True),
        ("/the input/Apple/1.jpg", True),
        ("file:///the%20input/Apple/1.jpg", True),
        ("file=%2Fthe%20input%2FApple%2F1.jpg", True),
        ("Training/Apple/1.jpg", False),
        ("Training%2FApple%2F1.jpg", False),
        ("Crab-Apple/1.jpg", False),
        ("Apple/1.jpgx", False),
        ("Apple/11.jpg", False),
    ],
)
def test_only_whole_paths_match(text: str, is_found: bool) -> None:
    target = Target(None, frozenset({"a" * 64}), frozenset({"Apple/1.jpg"}))
    needles = Needles.from_target(target, Location("file", "/the input"), [])
    assert needles.are_in(text.encode()) is is_found


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("x photos/anna/", True),
        ("/b/photos/anna/1", True),
        ("myphotos/anna/1", False),
        (r"first\nphotos/anna/1", True),  # JSON or repr in a text
        (r"first\u0009photos/anna/1", True),
        ("%2Fphotos%2Fanna%2F1", True),
        ("\0\0Aphotos/anna/1", True),  # in binary data, the letter may be a length
    ],
)
def test_a_persons_folder_matches_anywhere_in_a_text(text: str, is_found: bool) -> None:
    needles = Needles.from_target(ANNA, Location("file", "/input"), [])
    assert needles.are_in(text.encode()) is is_found


def test_a_match_across_two_chunks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spark_src.erasure.scan._CHUNK", 1000)
    (tmp_path / "long.txt").write_bytes(b" " * 990 + b"photos/anna/1.jpg" + b" " * 3000)
    needles = Needles.from_target(ANNA, location(tmp_path), [])
    assert scan(location(tmp_path), needles).n_hits == 1


@pytest.mark.parametrize("subject", ["", ".", "..", "a/b", "/etc", "a\0b"])
def test_an_invalid_subject_is_refused(subject: str) -> None:
    with pytest.raises(ErasureError):
        Target.from_names(subject)


def test_an_invalid_image_id_is_refused() -> None:
    with pytest.raises(ErasureError, match="is not an image id"):
        Target.from_names(None, ["photos/anna/1.jpg"])
