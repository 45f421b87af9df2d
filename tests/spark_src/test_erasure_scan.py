"""The scan after an erasure finds a person's name in any file format, and nothing else."""

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

from spark_src.erasure.needles import Needles
from spark_src.erasure.scan import scan
from spark_src.erasure.target import Target
from spark_src.io.aws import client
from spark_src.io.locations import Location

ANNA = Target.from_names("anna")
ODD = 'an"na, \\ the\n2nd é'
PATH = f"photos/{ODD}/1.jpg"
LETTERS = base64.b64encode(os.urandom(60_000)).decode()


def location(folder: Path) -> Location:
    return Location.parse(str(folder))


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
    "view.parquet": parquet(pa.table({"path": pa.array([PATH], pa.string_view())})),
    "unicode.txt": f"\ufeff{PATH}\t1".encode("utf-16-le"),
    "unicode.csv": f"\ufeff{PATH}\t1".encode("utf-16-be"),
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
