"""Derives split, label and person from the folders of a picture's path.

Labels, checks and previews all use these rules to recognise a person's photos.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

PHOTOS = "photos"
"""The input folder for users' photos, with one subfolder per person."""

SPLITS = {
    "train": "Training",
    "training": "Training",
    "val": "Validation",
    "valid": "Validation",
    "validation": "Validation",
    "test": "Test",
}
"""Top-level folder name in lower case -> split. Any other folder name is a label."""

# Any letter case, surrounding spaces of any width and dots at the end are accepted, so that a
# variant spelling of `photos` does not turn a person's folder name into a label.
_SPACES = "[ \t\u00a0\u2000-\u200f\u2028-\u202f\u2060\u3000\ufeff]*"
_PHOTOS_FOLDER = rf"(?i)(?:^|/){_SPACES}{PHOTOS}{_SPACES}\.*{_SPACES}/"
_IN_PHOTOS = re.compile(_PHOTOS_FOLDER)


def split_and_label(path: str) -> tuple[str | None, str | None]:
    """Split and label of a picture, from its path relative to the input.

    The first folder, in any case, gives the split; the last folder is the label. For a person's
    photo, the label is the folder below the person's folder, never the person.

    >>> split_and_label("Training/Apple/1.jpg"), split_and_label("train/Apple/1.jpg")
    (('Training', 'Apple'), ('Training', 'Apple'))
    >>> split_and_label("Apple/1.jpg"), split_and_label("2024/Apple/1.jpg")
    ((None, 'Apple'), (None, 'Apple'))
    >>> split_and_label("Test/1.jpg")
    ('Test', None)
    >>> split_and_label("photos/4711/Apple/1.jpg"), split_and_label("photos/4711/1.jpg")
    ((None, 'Apple'), (None, None))
    """
    folders = path.split("/")[:-1]
    split = split_of(folders[0]) if folders else None
    if is_photo(path):
        person, label, *_ = [*folders[_photos_index(path) + 1 :], None, None]
        is_name = label is not None and person is not None and label.lower() == person.lower()
        return split, None if is_name else label
    labels = folders[1:] if split else folders
    return split, labels[-1] if labels else None


def split_of(folder: str) -> str | None:
    """The split that a top-level folder stands for, or None.

    >>> split_of("TRAIN"), split_of("valid"), split_of("Apple")
    ('Training', 'Validation', None)
    """
    return SPLITS.get(folder.lower())


def is_photo(path: str) -> bool:
    """Whether a picture is a person's photo: one of its folders is `photos`, in any case.

    >>> is_photo("photos/4711/1.jpg"), is_photo("archive/Photos/4711/1.jpg")
    (True, True)
    >>> is_photo("Training/Apple/photos.jpg")
    False
    """
    return _IN_PHOTOS.search(path) is not None


def are_photos(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """`is_photo` for each path."""
    return pc.match_substring_regex(paths, _PHOTOS_FOLDER)


def person_of(path: str) -> str | None:
    """The person's folder name if the picture is a person's photo, otherwise None.

    >>> person_of("photos/4711/Apple/1.jpg"), person_of("Apple/1.jpg")
    ('4711', None)
    """
    if not is_photo(path):
        return None
    below = path.split("/")[:-1][_photos_index(path) + 1 :]
    return below[0] if below else None


def may_be_personal(path: str, split: str | None) -> bool:
    """Whether a picture may be a person's photo: any picture not clearly from the dataset.

    Stricter than `is_photo`, for output outside the storage: photos may be in the wrong folder or
    in one with a different name.

    >>> may_be_personal("Training/Apple/1.jpg", "Training"), may_be_personal("Apple/1.jpg", None)
    (False, True)
    >>> may_be_personal("Training/Photos/1.jpg", "Training")
    True
    """
    return split is None or is_photo(path)


def display_name(path: str) -> str:
    """A picture's name for messages, which are stored: never identifies a person.

    >>> display_name("Training/Apple/1.jpg"), display_name("photos/4711/Apple/1.jpg")
    ('Training/Apple/1.jpg', "a person's photo")
    """
    return "a person's photo" if is_photo(path) else path


def _photos_index(path: str) -> int:
    """Index of the first folder named `photos`, or -1."""
    found = _IN_PHOTOS.search(path)
    return path.count("/", 0, found.end()) - 1 if found else -1
