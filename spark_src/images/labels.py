"""Label corrections from `labels.csv` in the input folder."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from spark_src.errors import InputError
from spark_src.images.layout import split_and_label
from spark_src.images.litter import LABELS
from spark_src.io.locations import Location

FILE = LABELS
"""File at the top of the input, with columns `path` (relative to it) and `label`. """


@dataclass(frozen=True)
class Labels:
    """Corrected labels by path. Other pictures get their label from their folder."""

    by_path: Mapping[str, str] = field(default_factory=dict)

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

    Raises:
        InputError: the file is not a CSV file with the columns `path` and `label`, or a path has
            two different labels, or it is a symbolic link.
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
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if not {"path", "label"} <= set(rows.fieldnames or ()):
        raise _unusable(file, "the header does not have the columns path and label")
    found: dict[str, str] = {}
    for row in rows:
        path, label = (row["path"] or "").strip(), (row["label"] or "").strip()
        if not path or not label:
            raise _unusable(file, f"line {rows.line_num} has no path or no label")
        if found.setdefault(path, label) != label:
            raise _unusable(file, f"line {rows.line_num} has a second label for the same path")
    # Rows equal to the label from the folder are not corrections, so an exported list without edits
    # changes nothing.
    return Labels({p: label for p, label in found.items() if split_and_label(p)[1] != label})


def _unusable(file: Location, reason: str) -> InputError:
    return InputError(
        f"{file} cannot be used: {reason}. It must be a CSV file in UTF-8 with the columns path "
        "and label. Correct it or delete it."
    )
