"""Lists the people with photos in the input or in any table, by their folder in `photos/`."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spark_src.erasure.files import Entry, walk
from spark_src.erasure.rows import may_hold_rows
from spark_src.images.layout import PHOTOS
from spark_src.images.names import text_of
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.registry import RAW_IMAGES, TABLES


def people(tables: Tables, source: Location) -> set[str]:
    """All people with a folder in the input or rows in a file of a table.

    Includes uncommitted files of killed runs and files of earlier versions.
    """
    found = _in_input(source / PHOTOS)
    for asset in TABLES:
        for entry in walk(tables.prefix(asset)):
            if may_hold_rows(entry):
                found |= _in_file(entry)
    return found


def image_ids(tables: Tables) -> set[str]:
    """Ids of all pictures in files of `raw_images`, committed or not."""
    found: set[str] = set()
    for entry in walk(tables.prefix(RAW_IMAGES)):
        if may_hold_rows(entry):
            found.update(_column(entry, "image_id").drop_null().to_pylist())
    return found


def _in_input(photos: Location) -> set[str]:
    if photos.scheme == "s3":
        bucket, key = photos.bucket_and_key
        with aws_errors(f"listing {photos}"):
            pages = client("s3").get_paginator("list_objects_v2")
            found = pages.paginate(Bucket=bucket, Prefix=f"{key}/", Delimiter="/")
            folders = [item["Prefix"] for page in found for item in page.get("CommonPrefixes", [])]
        return {folder[len(key) + 1 : -1] for folder in folders}
    try:
        names = os.listdir(os.fsencode(photos.path))
    except OSError:
        return set()
    return {text_of(name) for name in names}


def _in_file(entry: Entry) -> set[str]:
    paths = _column(entry, "path")
    photos = paths.filter(pc.starts_with(paths, f"{PHOTOS}/"))
    names = pc.extract_regex(photos, rf"(?s)^{PHOTOS}/(?P<name>[^/]*)/")
    return set(pc.unique(pc.struct_field(names, "name")).drop_null().to_pylist())


def _column(entry: Entry, name: str) -> pa.ChunkedArray:
    """A column of a file; empty if it is not a complete Parquet file with this column."""
    try:
        with entry.open() as stream, pq.ParquetFile(pa.PythonFile(stream, "r")) as parquet:
            if name in parquet.schema_arrow.names:
                return parquet.read(columns=[name], use_threads=False)[name].cast(pa.string())
    except (OSError, pa.ArrowException):
        pass
    return pa.chunked_array([], pa.string())
