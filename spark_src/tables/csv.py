"""The CSV file: RFC 4180, UTF-8, one header, one row per image, sorted by path.

File names that a spreadsheet would run as formulas are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as pa_csv

from spark_src.errors import AuditError, UnreadableVersionError
from spark_src.io.locations import Location
from spark_src.tables.delta import Snapshot, TableWrite
from spark_src.tables.reading import Filter, read_rows
from spark_src.tables.schemas import KEYS, csv_schema
from spark_src.tables.statistics import ComponentsStatistics, CsvStatistics

if TYPE_CHECKING:
    import pandas as pd

FILE = "pca_components.csv"
"""File name of the export; it does not change between versions."""

STAGED = "_staged"

FORMAT = "3"
"""Version of the file format: a file in another format is rewritten."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Excel recognises UTF-8 by it."""

_SIGN = "[ \u00a0\u3000]*[=+@\uff1d\uff0b\uff0d\uff20-]"
"""What a formula starts with. The last four before the hyphen are the fullwidth forms of `=+-@`."""

_CELL = r"^|[;\t\r\n]"
"""What a cell starts with. Where the decimal sign is a comma, Excel separates cells by semicolons,
so that quotes in the middle of such a cell have no effect."""

_FORMULA = rf"({_CELL})({_SIGN})|^()([\t\r\n])"
"""Where a spreadsheet evaluates a text: a file may be called `=HYPERLINK(…).jpg`."""

_ESCAPED_FORMULA = re.compile(rf"({_CELL})'(?={_SIGN})|^()'(?=[\t\r\n])")

ROWS_AT_ONCE = 500_000
"""Rows that are sorted in memory (300 MB). Larger tables are read in ranges of paths."""

_ROWS_PER_WRITE = 20_000
_BUFFER_BYTES = 2**20
_SPECIAL = '^$|[",\r\n]'
"""Strings to quote by RFC 4180, and the empty string, to distinguish it from null."""


def write_staged(
    components: Snapshot,
    folder: Location,
    run_id: str,
    byte_order_mark: bool = False,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Location:
    """Write the components to a staged CSV file next to the current one.

    Spark is not used: starting it would take ten times as long as writing the file.

    Args:
        components: a version of `pca_components`.
        folder: the folder of `csv_export`.
        run_id: part of the staged file's name, so that concurrent runs write different files.
        byte_order_mark: whether to start the file with a byte order mark.
        rows_at_once: the maximum number of rows in memory.
    """
    staged = folder / STAGED / run_id
    staged.delete_folder()
    staged.make_folder()
    file = staged / FILE
    n_components = components.typed(ComponentsStatistics).n_components
    with file.filesystem.open_output_stream(file.path) as stream:
        if byte_order_mark:
            stream.write(BYTE_ORDER_MARK)
        stream.write((",".join(csv_schema(n_components).names) + "\n").encode())
        for where in _ranges(components, rows_at_once):
            rows = read_rows(components, [*KEYS, "pca"], where).sort_by("path")
            for start in range(0, len(rows), _ROWS_PER_WRITE):
                stream.write(_lines(rows.slice(start, _ROWS_PER_WRITE), n_components))
    return file


def _ranges(components: Snapshot, rows: int) -> Iterator[Filter | None]:
    """Ranges of paths, in order, each of about `rows` rows; None: all of them."""
    if components.rows <= rows:
        yield None
        return
    paths = read_rows(components, ["path"])["path"].combine_chunks()
    paths = paths.take(pc.sort_indices(paths))
    starts = [paths[index] for index in range(0, len(paths), rows)]
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        where = pc.field("path") >= start
        yield where if end is None else where & (pc.field("path") < end)


def _lines(rows: pa.Table, n_components: int) -> bytes:
    """Format rows as CSV lines; numbers have the shortest form that float32 allows.

    Raises:
        AuditError: a vector has a wrong length.
    """
    rows = rows.combine_chunks()
    flat = np.asarray(rows["pca"].combine_chunks().flatten(), np.float32)
    if len(flat) != len(rows) * n_components:
        raise AuditError(
            f"csv_export: not every vector in pca_components has {n_components} numbers. Nothing "
            "was committed. Materialize pca_components+ again."
        )
    columns = np.ascontiguousarray(flat.reshape(-1, n_components).T)
    numbers = [pa.array(column).cast(pa.string()) for column in columns]
    cells = [*(_quoted(rows[name].combine_chunks()) for name in KEYS), *numbers]
    lines = pc.binary_join_element_wise(*cells, ",")
    return ("\n".join(lines.to_pylist()) + "\n").encode()


def escape_formulas(texts: pa.StringArray) -> pa.StringArray:
    """Insert an apostrophe before everything that a spreadsheet would evaluate."""
    return pc.replace_substring_regex(texts, _FORMULA, r"\1\3'\2\4")


def unescape_formula(text: str) -> str:
    """Undo `escape_formulas` for one string."""
    return _ESCAPED_FORMULA.sub(r"\1", text)


def for_spreadsheets(rows: pd.DataFrame) -> bytes:
    """A small table as CSV, for people to edit: formulas are escaped."""
    texts = {
        name: escape_formulas(pa.array(rows[name], pa.string())).to_pylist()
        for name in rows
        if rows[name].dtype == object
    }
    edited = rows.assign(**texts)
    content: str = edited.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    return content.encode()


def has_byte_order_mark(file: Location) -> bool:
    """Whether the file exists and starts with a byte order mark."""
    if not file.exists():
        return False
    with file.filesystem.open_input_stream(file.path) as stream:
        return bool(stream.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK)


def _quoted(texts: pa.StringArray) -> pa.StringArray:
    """Quote strings as in RFC 4180; null becomes an empty field."""
    texts = escape_formulas(texts)
    doubled = pc.replace_substring(texts, '"', '""')
    quoted = pc.binary_join_element_wise('"', doubled, '"', "")
    special = pc.match_substring_regex(texts, _SPECIAL)
    return pc.fill_null(pc.if_else(special, quoted, texts), "")


def staged_statistics(staged: Location, digest: str, components: Snapshot) -> CsvStatistics:
    """Statistics of a staged file, for its commit.

    Raises:
        AuditError: the file does not have one row per image.
    """
    rows = count_rows(staged)
    if rows != components.rows:
        raise AuditError(
            f"csv_export: {rows:,} rows were written for {components.rows:,} images. Nothing was "
            "committed, and the previous file is still current. Materialize csv_export again."
        )
    return CsvStatistics(
        digest=digest,
        rows=rows,
        files=(FILE,),
        n_components=components.typed(ComponentsStatistics).n_components,
        file_bytes=staged.size or 0,
    )


def is_current(write: TableWrite, digest: str) -> bool:
    """Whether the stored file holds these components.

    The file is not read. Its size is compared, and there must be no staged file of a run that was
    killed between its commit and the replacement of the file.
    """
    before = write.before
    if before is None or before.statistics.digest != digest:
        return False
    if (write.location / STAGED / before.record.run_id).exists():
        return False
    return (write.location / FILE).size == before.typed(CsvStatistics).file_bytes


def replace_file(staged: Location, folder: Location) -> Location:
    """Replace the current file by the staged one: readers see either the old or the new file."""
    target = folder / FILE
    staged.filesystem.move(staged.path, target.path)
    (folder / STAGED).delete_folder()
    return target


def count_rows(file: Location) -> int:
    """Count the rows of a CSV file without its header; quoted line breaks do not end a row.

    Truncated rows are not counted. For a file that is not such a CSV the result is 0.

    Raises:
        UnreadableVersionError: there is no such file, or it cannot be opened.
    """
    parse = pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda _: "skip")
    # Only one column is parsed, without conversion.
    convert = pa_csv.ConvertOptions(
        include_columns=["path"], column_types={"path": pa.binary()}, check_utf8=False
    )
    read = pa_csv.ReadOptions(use_threads=False, block_size=_BUFFER_BYTES)
    try:
        # With the default buffer each 8 kB would be a call to S3.
        stream = file.filesystem.open_input_stream(file.path, buffer_size=_BUFFER_BYTES)
    except OSError as error:
        raise UnreadableVersionError(
            f"{file} cannot be read ({error}). Write it again with: uv run fruits run --select "
            "csv_export"
        ) from error
    with stream:
        try:
            with pa_csv.open_csv(stream, read, parse, convert) as batches:
                return sum(batch.num_rows for batch in batches)
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            return 0
