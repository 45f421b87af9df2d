"""Finds and removes a target's lines in `labels.csv`, which names pictures by their paths."""

from __future__ import annotations

import csv
import io
import os
import stat

from spark_src.erasure.target import Target
from spark_src.images.labels import FILE, delimiter_of
from spark_src.io import object_versions
from spark_src.io.locations import Location
from spark_src.tables.parquet import write_whole

_BYTE_ORDER_MARK = "\ufeff"


def count_labels(source: Location, target: Target) -> int:
    """Number of the target's rows. Changes nothing."""
    text = _read(source)
    return 0 if text is None else _remove_rows(text, target)[1]


def remove_labels(source: Location, target: Target) -> int:
    """Remove the target's rows; return their number. Other lines are kept to the byte.

    In S3, all earlier versions of the file are deleted, because they may have such rows, too.
    A file that cannot be parsed is not changed: the final scan reports it.

    Raises:
        StorageError: the file cannot be written.
        AwsError: a request to S3 failed.
    """
    text, file = _read(source), source / FILE
    if text is None:
        return 0
    kept, removed = _remove_rows(text, target)
    if removed:
        mode = stat.S_IMODE(os.lstat(file.path).st_mode) if file.scheme == "file" else None
        write_whole(file, kept.encode())
        if mode is not None:
            os.chmod(file.path, mode)
    object_versions.delete_earlier_of(file)
    return removed


def _read(source: Location) -> str | None:
    """The text of the file; None if there is none, or if it is not a file, readable and UTF-8."""
    file = source / FILE
    if file.scheme == "file" and os.path.islink(file.path):
        return None
    try:
        return file.read().decode()
    except (OSError, UnicodeDecodeError):  # the final scan searches it, or reports it
        return None


def _remove_rows(text: str, target: Target) -> tuple[str, int]:
    """The text without the lines of the target's rows, and the number of these rows."""
    mark = _BYTE_ORDER_MARK if text.startswith(_BYTE_ORDER_MARK) else ""
    lines = list(io.StringIO(text.removeprefix(mark), newline=""))
    rows = csv.reader(lines, delimiter=delimiter_of(text), skipinitialspace=True)
    kept, start, removed = [mark], 0, 0
    try:
        for row in rows:
            if any(target.owns(cell) or target.owns(cell.strip()) for cell in row):
                removed += 1
            else:
                kept += lines[start : rows.line_num]
            start = rows.line_num
    except csv.Error:
        return text, 0
    return "".join(kept), removed
