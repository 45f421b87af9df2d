"""What the folders of a picture's path say: its split, its label, whose it is.

The one home of what counts as a person's photo.
"""

from __future__ import annotations

PHOTOS = "photos"
"""The folder of the input in which users' photos lie, a folder a person."""

DATASET_SPLITS = frozenset({"Training", "Test"})
"""The splits of Fruits-360, whose pictures are of fruits and nobody's."""


def split_and_label(path: str) -> tuple[str | None, str | None]:
    """Split and label of a picture by its path relative to the input.

    Of a person's photo the label is the folder below the person's, never the person.

    >>> split_and_label("Training/Apple/1.jpg")
    ('Training', 'Apple')
    >>> split_and_label("Apple/1.jpg")
    (None, 'Apple')
    >>> split_and_label("photos/4711/Apple/1.jpg")
    (None, 'Apple')
    >>> split_and_label("photos/4711/1.jpg")
    (None, None)
    """
    folders = path.split("/")[:-1]
    if is_photo(path):
        return None, folders[-1] if len(folders) > 2 else None
    split = folders[0] if len(folders) > 1 else None
    return split, folders[-1] if folders else None


def is_photo(path: str) -> bool:
    """Whether a picture is a person's.

    >>> is_photo("photos/4711/1.jpg"), is_photo("Training/photos/1.jpg")
    (True, False)
    """
    return path.split("/", 1)[0] == PHOTOS


def person_of(path: str) -> str | None:
    """The person's folder, of a person's photo.

    >>> person_of("photos/4711/Apple/1.jpg")
    '4711'
    """
    folders = path.split("/")[:-1]
    return folders[1] if is_photo(path) and len(folders) > 1 else None


def may_be_personal(path: str, split: str | None) -> bool:
    """Whether a picture may be a person's: any that is not plainly of the data set.

    Wider than `is_photo`, for what is shown outside the storage: photos may lie in the wrong
    folder, or in one that is spelled otherwise.

    >>> may_be_personal("Training/Apple/1.jpg", "Training"), may_be_personal("Apple/1.jpg", None)
    (False, True)
    >>> may_be_personal("Training/Photos/1.jpg", "Training")
    True
    """
    return split not in DATASET_SPLITS or PHOTOS in path.lower().split("/")[:-1]
