"""The tests' own scanner finds a name in all places that an erasure could miss."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import pickle
import sqlite3
import zlib
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.erasure_scanner import files_with

NAME = 'zq7 "é'

CONTENTS = {
    "plain": NAME.encode(),
    "json": json.dumps(json.dumps({"a": NAME})).encode(),
    "url": quote(NAME).encode(),
    "gzip": gzip.compress(zlib.compress(NAME.encode())),
    "bz2": bz2.compress(NAME.encode()),
    "xz": lzma.compress(NAME.encode()),
    "pickle": pickle.dumps({"a": NAME}),
    "base64": base64.b64encode(b"padding before it " + NAME.encode()),
    "utf-16": NAME.encode("utf-16-le"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_name_is_found_in_a_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_bytes(b"" + CONTENTS[kind])
    assert files_with(NAME, tmp_path) == [str(tmp_path / "file")]
    assert files_with("zq8", tmp_path) == []


def test_a_name_is_found_in_tables_databases_and_file_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": [NAME] * 3}), tmp_path / "table", compression="zstd")
    with sqlite3.connect(tmp_path / "database") as database:
        database.execute("create table rows (content blob)")
        database.execute("insert into rows values (?)", [zlib.compress(NAME.encode())])
    (tmp_path / "a" / "zq7").mkdir(parents=True)
    (tmp_path / "link").symlink_to("/photos/zq7")
    assert len(files_with("zq7", tmp_path)) == 4
