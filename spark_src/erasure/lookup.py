"""What there is of a target in all, and when a request is refused rather than half fulfilled."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from spark_src.contract import FOLDERS
from spark_src.erasure import inputs, rows
from spark_src.erasure.needles import Needles
from spark_src.erasure.scan import Scan, scan
from spark_src.erasure.target import Target
from spark_src.errors import ErasureError
from spark_src.io.locations import Location
from spark_src.tables.delta import Tables
from spark_src.tables.statistics import RawImagesStatistics

PENDING = "pending-"
"""How files of requests that are not done begin."""

_SHOWN = 5


@dataclass(frozen=True)
class Found:
    """What there is of a target."""

    files: int
    """Under the input."""
    earlier: int
    """Earlier versions of the person's files that a bucket keeps, of deleted ones too."""
    rows: dict[str, int]
    """How many rows of each table's current version are theirs."""
    uncommitted: int
    """Rows in files of killed runs and of earlier versions."""
    other_files: int
    """Files under the storage, and records of Dagster's, that hold something else of theirs;
    counted where nothing else is."""
    paths: frozenset[str]
    image_ids: frozenset[str]
    shared: int
    """Pictures that somebody else supplied, too: those rows and files stay."""
    several_owners: int
    """Pictures named by their ids that more than one supplied."""
    similar_in_input: frozenset[str]
    """Folders whose names are nearly the person's."""
    similar_in_tables: frozenset[str]
    elsewhere: tuple[str, ...]
    """Folders of the person's name that are not in `photos/`."""

    @property
    def similar(self) -> tuple[str, ...]:
        """Folders, in the input or in rows, whose names are nearly the person's."""
        return tuple(sorted(self.similar_in_input | self.similar_in_tables))

    @property
    def is_spelled_in_two_ways(self) -> bool:
        """Whether the input has the name as it was given, and the tables have another, or so."""
        has_rows = bool(any(self.rows.values()))
        in_tables = bool(self.files) and not has_rows and bool(self.similar_in_tables)
        return in_tables or (has_rows and not self.files and bool(self.similar_in_input))

    @property
    def is_empty(self) -> bool:
        """Whether there is no trace at all."""
        counts = (self.files, self.earlier, self.uncommitted, self.other_files)
        return not (any(counts) or any(self.rows.values()))


def pending_prefix(tables: Tables) -> Location:
    """How the files of requests that are not done begin."""
    return tables.root / FOLDERS["erasures"] / PENDING


def find(
    tables: Tables,
    source: Location,
    target: Target,
    image_ids: Iterable[str] = (),
    records: Callable[[Needles], Scan] | None = None,
) -> Found:
    """Look for a target in the input and in every file of the tables; nothing is changed.

    Where neither has a trace, every file under the storage is looked into.

    Args:
        tables: the storage.
        source: the input.
        target: whose data.
        image_ids: of pictures that are known to be the target's.
        records: scans Dagster's own records; called where nothing else has a trace.

    Raises:
        ErasureError: the tables were made from another input, or the input is not there.
    """
    require_same_input(tables, source)
    files = inputs.look_through(source, target)
    known = rows.look_through(tables, target, image_ids)
    other_files = 0
    if not (files.files or files.folders or files.earlier or known.has_rows):
        needles = Needles.from_target(target, source, known.image_ids)
        other_files = scan(tables.root, needles, pending_prefix(tables)).n_hits
        other_files += records(needles).n_hits if records else 0
    return Found(
        files=len(files.files) + files.folders * (not files.files),
        earlier=files.earlier,
        rows=known.rows,
        uncommitted=known.uncommitted,
        other_files=other_files,
        paths=frozenset({*target.paths, *files.files, *known.paths}),
        image_ids=frozenset(known.image_ids),
        shared=known.shared,
        several_owners=known.several_owners,
        similar_in_input=frozenset(files.similar),
        similar_in_tables=frozenset(known.similar),
        elsewhere=tuple(sorted(files.elsewhere | known.elsewhere)),
    )


def require_same_input(tables: Tables, source: Location) -> None:
    """Refuse to erase where the pictures' files would stay.

    Raises:
        ErasureError: the tables were made from another input than this.
    """
    raw = tables.find("raw_images")
    made_from = raw.typed(RawImagesStatistics).input if raw else source.uri
    if made_from.rstrip("/") != source.uri.rstrip("/"):
        raise ErasureError(
            f"The pictures under {tables.root} came from {made_from}, but the input is "
            f"{source.uri}: their files would stay. Set FRUITS_INPUT to where they are; if they "
            "were moved, materialize raw_images from there first."
        )


def require_single_owners(found: Found, target: Target) -> None:
    """Refuse to take away somebody else's copy of a picture unless that was asked for.

    Raises:
        ErasureError: a picture that is named by its id has several owners.
    """
    if found.several_owners and not target.all_owners:
        raise ErasureError(
            f"{found.several_owners} of the pictures that are named by their ids were supplied by "
            "more than one person. To erase one person's copies, give --subject; to erase all "
            "copies, no matter who supplied them, add --all-owners."
        )


def require_trace(found: Found, target: Target, tables: Tables, source: Location) -> None:
    """Refuse a request that names nobody.

    Raises:
        ErasureError: there is no trace, or only of a name that is nearly the same.
    """
    if found.is_spelled_in_two_ways:
        raise ErasureError(
            f"The input {source} and the tables spell the folder of {target.subject} in two ways: "
            f"there is {_listed(found.similar)}, too. Materialize raw_images, so that they agree, "
            "and call again with the name just as it is written."
        )
    if not found.is_empty:
        return
    whose = " ".join([target.subject or "", *sorted(target.image_ids)]).strip()
    no_trace = (
        f"There is no trace of {whose}: no file under {source}, no row or file under {tables.root}."
    )
    if found.similar:
        raise ErasureError(
            f"{no_trace} There is {_listed(found.similar)}: nearly that name, in another case, "
            "form of Unicode or with other spaces. If that is who is meant, give the name just as "
            "it is written there; where photos/ itself has another name, rename it and materialize "
            "raw_images first."
        )
    if found.elsewhere:
        raise ErasureError(
            f"{no_trace} There is {_listed(found.elsewhere)}, which is not in photos/. Is "
            "FRUITS_INPUT one level too deep? Set it to the folder that has photos/ in it, "
            "materialize raw_images from there, and call again."
        )
    raise ErasureError(
        f"{no_trace} Is it written as the folder is? What was erased before has its receipt. Where "
        "a refresh took the rows out long ago, PCA can still be one that was fitted on them: "
        "materialize pca_model with `refit: true`."
    )


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(f"{name!r}" for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
