"""Finds all data that belongs to a target; refuses requests that can only be partly completed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from spark_src.contract import FOLDERS
from spark_src.erasure import inputs, rows
from spark_src.erasure.label_rows import count_labels
from spark_src.erasure.needles import Needles
from spark_src.erasure.scan import Scan, scan
from spark_src.erasure.target import Target
from spark_src.errors import ErasureError
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.registry import RAW_IMAGES
from spark_src.tables.statistics import RawImagesStatistics

PENDING = "pending-"
"""Prefix of the files of pending requests."""

_SHOWN = 5


@dataclass(frozen=True)
class Found:
    """The data found for a target."""

    files: int
    """Files of the input."""
    earlier: int
    """Earlier versions of the person's files in a versioned bucket, including deleted files."""
    labels: int
    """Rows of `labels.csv`."""
    rows: dict[str, int]
    """Table -> number of the target's rows in the current version."""
    uncommitted: int
    """Rows in files of killed runs and of earlier versions."""
    other_files: int
    """Other stored files and Dagster records with data of the target. Only counted if nothing else
    was found."""
    paths: frozenset[str]
    image_ids: frozenset[str]
    shared: int
    """Pictures also supplied by other people, whose rows and files are kept."""
    several_owners: int
    """Pictures selected by id that several people supplied."""
    similar_in_input: frozenset[str]
    """Folders with a name similar to the person's."""
    similar_in_tables: frozenset[str]
    elsewhere: tuple[str, ...]
    """Folders with the person's name that are not in `photos/`."""

    @property
    def similar(self) -> tuple[str, ...]:
        """Folders whose name resembles the person's, in the input or the tables."""
        return tuple(sorted(self.similar_in_input | self.similar_in_tables))

    @property
    def has_two_spellings(self) -> bool:
        """Whether input and tables spell the name differently, and only one matches exactly."""
        has_rows = bool(any(self.rows.values()))
        in_tables = bool(self.files) and not has_rows and bool(self.similar_in_tables)
        return in_tables or (has_rows and not self.files and bool(self.similar_in_input))

    @property
    def is_empty(self) -> bool:
        """Whether no data was found."""
        counts = (self.files, self.earlier, self.labels, self.uncommitted, self.other_files)
        return not (any(counts) or any(self.rows.values()))


def pending_prefix(tables: Tables) -> Location:
    """Location prefix of the files of pending requests."""
    return tables.root / FOLDERS["erasures"] / PENDING


def find(
    tables: Tables,
    source: Location,
    target: Target,
    image_ids: Iterable[str] = (),
    records: Callable[[Needles], Scan] | None = None,
) -> Found:
    """Search for a target in the input and in every file of the tables. Changes nothing.

    If neither has data of the target, every file under the storage is scanned.

    Args:
        tables: the storage.
        source: the input.
        target: the person or pictures.
        image_ids: ids of pictures known to be the target's.
        records: scans Dagster's own records. Called only if nothing else is found.

    Raises:
        ErasureError: the tables were built from another input, or the input does not exist.
    """
    require_same_input(tables, source)
    files = inputs.find_traces(source, target)
    known = rows.find_traces(tables, target, image_ids)
    paths = frozenset({*target.paths, *files.files, *known.paths})
    labels = count_labels(source, replace(target, paths=paths))
    other_files = 0
    if not (files.files or files.folders or files.earlier or labels or known.has_rows):
        needles = Needles.from_target(target, source, known.image_ids)
        other_files = scan(tables.root, needles, pending_prefix(tables)).n_hits
        other_files += records(needles).n_hits if records else 0
    return Found(
        files=len(files.files) + files.folders * (not files.files),
        earlier=files.earlier,
        labels=labels,
        rows=known.rows,
        uncommitted=known.uncommitted,
        other_files=other_files,
        paths=paths,
        image_ids=frozenset(known.image_ids),
        shared=known.shared,
        several_owners=known.several_owners,
        similar_in_input=frozenset(files.similar),
        similar_in_tables=frozenset(known.similar),
        elsewhere=tuple(sorted(files.elsewhere | known.elsewhere)),
    )


def require_same_input(tables: Tables, source: Location) -> None:
    """Refuse to erase if the original files would be left.

    Raises:
        ErasureError: the tables were built from another input.
    """
    raw = tables.find(RAW_IMAGES)
    known_input = raw.typed(RawImagesStatistics).input if raw else source.uri
    if known_input.rstrip("/") != source.uri.rstrip("/"):
        raise ErasureError(
            f"The pictures under {tables.root} were read from {known_input}, but the input is "
            f"{source.uri}: their files would not be deleted. Set FRUITS_INPUT to their folder. If "
            "they were moved, materialize raw_images from there first."
        )


def require_single_owners(found: Found, target: Target) -> None:
    """Refuse to erase other people's copies of a picture unless requested.

    Raises:
        ErasureError: a picture selected by id has several owners.
    """
    if found.several_owners and not target.all_owners:
        raise ErasureError(
            f"{found.several_owners} of the pictures selected by id were supplied by more than one "
            "person. To erase one person's copies, give --subject. To erase all copies, regardless "
            "of who supplied them, add --all-owners."
        )


def require_trace(found: Found, target: Target, tables: Tables, source: Location) -> None:
    """Refuse a request for which no data was found.

    Raises:
        ErasureError: no data was found, or only data of a similar name.
    """
    if found.has_two_spellings:
        raise ErasureError(
            f"The input {source} and the tables spell the folder of {target.subject} differently: "
            f"there is also {_join_names(found.similar)}. Materialize raw_images, so that they "
            "agree, and run `fruits erase` again with the exact name."
        )
    if not found.is_empty:
        return
    wanted = " ".join([target.subject or "", *sorted(target.image_ids)]).strip()
    no_trace = (
        f"There is no trace of {wanted}: no file under {source}, no row or file under "
        f"{tables.root}."
    )
    if found.similar:
        raise ErasureError(
            f"{no_trace} There is {_join_names(found.similar)}, which differs only in letter case, "
            "Unicode form or spaces. If that is the person, give the exact name. If the folder "
            "photos/ itself is spelled differently, rename it and materialize raw_images first."
        )
    if found.elsewhere:
        raise ErasureError(
            f"{no_trace} There is {_join_names(found.elsewhere)}, which is not in photos/. Is "
            "FRUITS_INPUT one level too deep? Set it to the folder that contains photos/, "
            "materialize raw_images from there, and run `fruits erase` again."
        )
    raise ErasureError(
        f"{no_trace} Is it spelled exactly as the folder? For data erased before, see the "
        "receipts. If an earlier refresh removed the rows, the PCA may still have been fitted on "
        "them: uv run fruits run --select 'pca_model+' --set pca_model.refit=true"
    )


def _join_names(names: tuple[str, ...]) -> str:
    shown = ", ".join(f"{name!r}" for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
