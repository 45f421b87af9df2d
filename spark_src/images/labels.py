"""Label corrections from `labels.csv` in the input folder."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import compress

import pyarrow as pa
import pyarrow.compute as pc

from spark_src.errors import InputError
from spark_src.images.layout import split_and_label
from spark_src.images.litter import LABELS
from spark_src.io.locations import Location
from spark_src.tables.csv import unescape_formula

FILE = LABELS
"""File at the top of the input, with columns `path` (relative to it) and `label`. """

_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Labels:
    """Corrected labels by path. Other pictures get their label from their folder."""

    by_path: Mapping[str, str] = field(default_factory=dict)
    n_unknown: int = 0
    """Rows whose path is not in the input, so that they correct nothing."""

    def among(self, paths: pa.ChunkedArray) -> Labels:
        """The corrections of these paths; the others are counted as unknown."""
        if not self.by_path:
            return self
        known = pc.is_in(pa.array(self.by_path, pa.string()), pc.unique(paths))
        found = dict(compress(self.by_path.items(), known.to_pylist()))
        return Labels(found, self.n_unknown + len(self.by_path) - len(found))

    @property
    def digest(self) -> int:
        """Part of the digest of `raw_images`; 0 without corrections."""
        if not self.by_path:
            return 0
        text = repr(sorted(self.by_path.items()))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])

    def label_of(self, path: str) -> str | None:
        """The label of a picture."""
        return self.by_path.get(path) or split_and_label(path)[1]

    def differ_from(self, known: pa.Table) -> pa.Array:
        """Whether the label of each row (columns path and label) has changed."""
        pairs = zip(known["path"].to_pylist(), known["label"].to_pylist(), strict=True)
        return pa.array([self.label_of(path) != label for path, label in pairs], pa.bool_())


def read_labels(root: Location) -> Labels:
    """Read the corrections; empty if the file does not exist.

    Rows without a label are not filled in yet and correct nothing. Spreadsheets may save the file
    with a byte order mark, Windows line ends, and semicolons or tabs instead of commas.

    Raises:
        InputError: the file is not a CSV file with the columns `path` and `label`, a label has no
            path, a path has two different labels, or the file is a symbolic link.
    """
    file = root / FILE
    if file.scheme == "file" and os.path.islink(file.path):
        raise _unusable(file, "it is a symbolic link, and links in the input are not followed")
    try:
        text = file.read().decode("utf-8-sig")
    except FileNotFoundError:
        return Labels()
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(file, str(error)) from error
    found: dict[str, str] = {}
    for line, path, label in _rows(file, text):
        if label and not path:
            raise _unusable(file, f"line {line} has a label but no path")
        if label and found.setdefault(path, label) != label:
            raise _unusable(file, f"line {line} has a second label for the same path")
    # Rows equal to the label from the folder are not corrections, so an exported list without edits
    # changes nothing.
    return Labels({p: label for p, label in found.items() if split_and_label(p)[1] != label})


def delimiter_of(text: str) -> str:
    """What separates the cells: spreadsheets may save semicolons or tabs instead of commas."""
    return max(_DELIMITERS, key=text.partition("\n")[0].count)


def _rows(file: Location, text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, path and label of each row."""
    lines = io.StringIO(text, newline="")
    rows = csv.DictReader(lines, delimiter=delimiter_of(text), skipinitialspace=True)
    try:
        names = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
        if not {"path", "label"} <= set(names):
            raise _unusable(file, "the header does not have the columns path and label")
        for row in rows:
            cells = ((row[names[name]] or "").strip() for name in ("path", "label"))
            path, label = map(unescape_formula, cells)
            yield rows.line_num, path, label
    except csv.Error as error:
        raise _unusable(file, f"line {rows.line_num}: {error}") from error


def _unusable(file: Location, reason: str) -> InputError:
    return InputError(
        f"{file} cannot be used: {reason}. It must be a CSV file in UTF-8 with the columns path "
        "and label. Correct it or delete it."
    )
