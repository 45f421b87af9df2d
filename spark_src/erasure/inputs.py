"""Finds and deletes a target's files in the input, and finds folders with similar names."""

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
    """The data of a target found in the input."""

    files: list[str] = field(default_factory=list)
    """Paths, relative to the input."""
    folders: int = 0
    """Number of the person's folders, which may be empty."""
    earlier: int = 0
    """Earlier versions of the person's files in a versioned bucket, including deleted files, and
    incomplete uploads."""
    similar: set[str] = field(default_factory=set)
    """Folders whose names differ only in letter case, Unicode form or spaces."""
    elsewhere: set[str] = field(default_factory=set)
    """Files and folders with the person's name that are not in `photos/`."""


def find_traces(source: Location, target: Target) -> InputTraces:
    """Search for a target in the input. Changes nothing.

    Raises:
        ErasureError: the input does not exist, so its contents are unknown.
    """
    if source.scheme == "file" and not os.path.isdir(source.path):
        raise ErasureError(
            f"The input {source} does not exist, so its photos would not be deleted. Is its disk "
            "mounted? Set FRUITS_INPUT to their folder. If all were deleted, create an empty "
            "folder there."
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
        if (
            source.scheme == "s3" and folder not in known
        ):  # S3 has no folders: derive them from keys
            known = set(_with_parents(folder))
            for parent in known:
                _compare(traces, parent, target)
    if target.folder is not None:
        person_folder = source / target.folder
        traces.earlier = len(
            object_versions.leftovers(person_folder) + object_versions.uploads(person_folder)
        )
    return traces


def remove_inputs(source: Location, target: Target) -> int:
    """Delete a target's files from the input, in S3 with every version; return their number.

    Only files listed below the input, without following links, are deleted. A path in a request
    that points elsewhere deletes nothing.

    Raises:
        ErasureError: a path points outside the input, or cannot be deleted.
    """
    if source.scheme == "s3":
        return _remove_objects(source, target)
    require_plain_paths(target.paths)
    owned = [entry for entry in walk(source) if target.owns(entry.path)]
    outside_folder = [entry for entry in owned if not target.is_below_folder(entry.path)]
    removed = 0
    for entry in outside_folder:
        if entry.kind in {Kind.FILE, Kind.OTHER}:
            entry.delete()
            removed += 1
        elif entry.path == target.folder:
            removed += delete_tree(source, entry.raw.split(b"/"))
    return removed


def _remove_objects(source: Location, target: Target) -> int:
    outside_folder = [path for path in sorted(target.paths) if not target.is_below_folder(path)]
    removed = 0
    if target.folder is not None:
        outside_folder.append(target.folder)
        removed += object_versions.delete_all(source / target.folder)
        removed += object_versions.abort_uploads(source / target.folder)
    for path in outside_folder:
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
    """Record a folder that is similar to the person's, or has the same name elsewhere."""
    if target.owns(folder):
        return
    parent, _, name = folder.rpartition("/")
    if target.is_similar(parent, name):
        traces.similar.add(folder)
    elif name == target.subject:
        traces.elsewhere.add(folder)
