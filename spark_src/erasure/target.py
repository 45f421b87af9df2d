"""The target of an erasure, and which names and rows belong to it. No I/O."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from spark_src.errors import ErasureError
from spark_src.images.layout import PHOTOS
from spark_src.images.names import name_of, text_of
from spark_src.io.locations import Location

_HEX = frozenset("0123456789abcdef")

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Characters without a glyph that are not of the categories Cc and Cf: variation selectors,
fillers."""


@dataclass(frozen=True)
class Target:
    """A person, or single pictures. Paths can be added to it but not removed."""

    subject: str | None
    """The person's folder in `photos/`; bytes that are not valid UTF-8 are escaped as `\\xNN`."""
    image_ids: frozenset[str]
    paths: frozenset[str] = frozenset()
    """Paths of input files, as stored in the tables."""
    all_owners: bool = False
    """Whether pictures selected by id are erased regardless of who supplied them."""

    @classmethod
    def from_names(
        cls, subject: str | None, image_ids: Iterable[str] = (), all_owners: bool = False
    ) -> Target:
        """Validate the names and ids of a request.

        Raises:
            ErasureError: no name or id is given, or one is invalid.
        """
        wanted = frozenset(image_ids)
        if not subject and not wanted:
            raise ErasureError("No target is given: give --subject ID or --image-id ID.")
        if subject is not None:
            subject = os.fsencode(subject).decode("utf-8", "backslashreplace")
            if subject in {"", ".", ".."} or "/" in subject or "\0" in subject:
                raise ErasureError(
                    f"{subject!r} is not a valid subject: give the name of a folder in {PHOTOS}/."
                )
        wrong = [found for found in wanted if len(found) != 64 or not set(found) <= _HEX]
        if wrong:
            raise ErasureError(
                f"{wrong[0]!r} is not an image id: give a SHA-256 as 64 hexadecimal digits."
            )
        return cls(subject, wanted, all_owners=all_owners)

    @property
    def folder(self) -> str | None:
        """The person's folder, relative to the input."""
        return None if self.subject is None else f"{PHOTOS}/{self.subject}"

    @property
    def names(self) -> tuple[str, ...]:
        """The person's name, as stored in the tables and as in the file system."""
        if self.subject is None:
            return ()
        folder = name_of(self.subject).decode("utf-8", "surrogateescape")
        return tuple(dict.fromkeys((self.subject, folder)))

    @property
    def prefix(self) -> str | None:
        """Path prefix of the person's files, relative to the input."""
        return None if self.subject is None else f"{PHOTOS}/{self.subject}/"

    def owns(self, path: str) -> bool:
        """Whether a path is a known path, the person's folder, or below it."""
        return path in self.paths or path == self.folder or self.is_below_folder(path)

    def is_below_folder(self, path: str) -> bool:
        """Whether a path is below the person's folder."""
        return self.prefix is not None and path.startswith(self.prefix)

    def rows(self, table: pa.Table) -> pa.ChunkedArray:
        """Mask of the target's rows, by path and, if there is such a column, by image id."""
        known = {*self.paths, *([self.folder] if self.folder else [])}
        found = pc.is_in(table["path"], pa.array(sorted(known), pa.string()))
        if self.prefix is not None:
            found = pc.or_(found, pc.starts_with(table["path"], self.prefix))
        if "image_id" in table.schema.names and self.image_ids:
            found = pc.or_(found, pc.is_in(table["image_id"], pa.array(sorted(self.image_ids))))
        return pc.fill_null(found, False)

    def is_similar(self, folder: str, name: str) -> bool:
        """Whether a folder and its subfolder are similar, but not equal, to the person's.

        >>> Target.from_names("José").is_similar("Photos", "jose\\u0301 ")
        True
        """
        if self.subject is None or (folder, name) == (PHOTOS, self.subject):
            return False
        return (_folded(folder), _folded(name)) == (PHOTOS, _folded(self.subject))


def subject_in_tables(name: str, source: Location) -> str:
    r"""The name of a folder in the input, as stored in the tables.

    On disk, names are escaped as in `text_of`. Keys in S3 are UTF-8 and stored unchanged.

    >>> print(subject_in_tables(r"a\x41", Location.parse("/input")))
    a\x5cx41
    """
    return name if source.scheme == "s3" else text_of(os.fsencode(name))


def require_plain_paths(paths: Iterable[str]) -> None:
    """Refuse paths that could point outside the input.

    Raises:
        ErasureError: a path is absolute or contains `..`.
    """
    wrong = [path for path in paths if path.startswith("/") or ".." in path.split("/")]
    if wrong:
        raise ErasureError(
            f"{len(wrong)} paths of the request are absolute or contain `..`, so they are not "
            "files of the input. Nothing was deleted for this request. Find out who wrote it, "
            "delete its file, and run `fruits erase` again."
        )


def _folded(name: str) -> str:
    """Normalise a name: case, Unicode form, invisible characters, and spaces and dots at the end.

    Windows and its network drives drop spaces and dots at the end.
    """
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name).casefold())
    visible = "".join(char for char in text if unicodedata.category(char) not in {"Cc", "Cf"})
    return " ".join(unicodedata.normalize("NFKC", visible).split()).rstrip(" .")
