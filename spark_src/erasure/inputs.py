"""A person's files under the input: finding and deleting them, and names that are nearly theirs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from spark_src.erasure.files import Entry, Kind, delete_tree, walk
from spark_src.erasure.target import Target, require_plain_paths
from spark_src.errors import ErasureError
from spark_src.io import object_versions
from spark_src.io.locations import Location


@dataclass
class InputTraces:
    """What the input has of a target."""

    files: list[str] = field(default_factory=list)
    """Paths, relative to the input."""
    folders: int = 0
    """Folders of the person's, which may be empty."""
    earlier: int = 0
    """Earlier versions of the person's files that a bucket keeps, of deleted ones too; parts of
    uploads that were never completed."""
    similar: set[str] = field(default_factory=set)
    """Folders that are nearly the person's: another case, form of Unicode or space."""
    elsewhere: set[str] = field(default_factory=set)
    """Files and folders of the person's name that are not in `photos/`."""


def look_through(source: Location, target: Target) -> InputTraces:
    """Look for a target under the input; nothing is changed.

    Raises:
        ErasureError: the input is not there, so what is in it is unknown.
    """
    if source.scheme == "file" and not os.path.isdir(source.path):
        raise ErasureError(
            f"The input {source} is not there, so its photos would stay. Is its disk mounted? Set "
            "FRUITS_INPUT to where they are; where all were deleted, make an empty folder there."
        )
    traces, known = InputTraces(), set[str]()
    for entry in walk(source):
        if target.owns(entry.path):
            _note(traces, entry)
            continue
        if entry.kind is Kind.FOLDER:
            _compare(traces, entry.path, target)
        folder, _, name = entry.path.rpartition("/")
        if name == target.subject and entry.kind is not Kind.FOLDER:
            traces.elsewhere.add(entry.path)
        if source.scheme == "s3" and folder not in known:  # folders are known by their files alone
            known = set(_with_parents(folder))
            for one in known:
                _compare(traces, one, target)
    if target.folder is not None:
        theirs = source / target.folder
        traces.earlier = len(object_versions.leftovers(theirs) + object_versions.uploads(theirs))
    return traces


def remove_inputs(source: Location, target: Target) -> int:
    """Delete a target's files under the input, in S3 with every version; return how many.

    What is deleted was listed below the input without following a link: a name in a request that
    leads elsewhere deletes nothing.

    Raises:
        ErasureError: a path leads out of the input, or cannot be deleted.
    """
    if source.scheme == "s3":
        return _remove_objects(source, target)
    require_plain_paths(target.paths)
    theirs = [entry for entry in walk(source) if target.owns(entry.path)]
    alone = [entry for entry in theirs if not target.is_below_folder(entry.path)]
    removed = 0
    for entry in alone:
        if entry.kind in {Kind.FILE, Kind.OTHER}:
            entry.delete()
            removed += 1
        elif entry.path == target.folder:
            removed += delete_tree(source, entry.raw.split(b"/"))
    return removed


def _remove_objects(source: Location, target: Target) -> int:
    alone = [path for path in sorted(target.paths) if not target.is_below_folder(path)]
    removed = 0
    if target.folder is not None:
        alone.append(target.folder)
        removed += object_versions.delete_all(source / target.folder)
        removed += object_versions.abort_uploads(source / target.folder)
    for path in alone:
        removed += object_versions.delete(source / path)
        removed += object_versions.abort_uploads(source / path, file=True)
    return removed


def _note(traces: InputTraces, entry: Entry) -> None:
    if entry.kind in {Kind.FOLDER, Kind.CLOSED}:
        traces.folders += 1
    else:
        traces.files.append(entry.path)


def _with_parents(folder: str) -> list[str]:
    names = folder.split("/") if folder else []
    return ["", *("/".join(names[: count + 1]) for count in range(len(names)))]


def _compare(traces: InputTraces, folder: str, target: Target) -> None:
    """Compare a folder's name, and its parent's, with the person's."""
    if target.owns(folder):
        return
    parent, _, name = folder.rpartition("/")
    if target.is_similar(parent, name):
        traces.similar.add(folder)
    elif name == target.subject:
        traces.elsewhere.add(folder)
