"""Whose photos there are: names of folders under `photos/`, in the input and in every table."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spark_src.erasure.files import Entry, walk
from spark_src.erasure.rows import may_hold_rows
from spark_src.images.layout import PHOTOS
from spark_src.images.listing import text_of
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.registry import TABLES


def people(tables: Tables, source: Location) -> set[str]:
    """Everybody whose folder lies in the input, or whose rows lie in a file of a table.

    Files that no commit has are read, too: those of killed runs and of earlier versions.
    """
    found = _in_input(source / PHOTOS)
    for asset in TABLES:
        for entry in walk(tables.prefix(asset)):
            if may_hold_rows(entry):
                found |= _in_file(entry)
    return found


def image_ids(tables: Tables) -> set[str]:
    """Of every picture that `raw_images` has, or that lies in a file of it."""
    found: set[str] = set()
    for entry in walk(tables.prefix("raw_images")):
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
    theirs = paths.filter(pc.starts_with(paths, f"{PHOTOS}/"))
    names = pc.extract_regex(theirs, rf"(?s)^{PHOTOS}/(?P<name>[^/]*)/")
    return set(pc.unique(pc.struct_field(names, "name")).drop_null().to_pylist())


def _column(entry: Entry, name: str) -> pa.ChunkedArray:
    """A column of a file; an empty one where it is no whole Parquet file that has it."""
    try:
        with entry.open() as stream, pq.ParquetFile(pa.PythonFile(stream, "r")) as parquet:
            if name in parquet.schema_arrow.names:
                return parquet.read(columns=[name], use_threads=False)[name].cast(pa.string())
    except (OSError, pa.ArrowException):
        pass
    return pa.chunked_array([], pa.string())
