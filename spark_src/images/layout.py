"""What the folders of a picture's path say: its split, its label, whose it is."""

from __future__ import annotations

PHOTOS = "photos"
"""The folder of the input in which users' photos lie, a folder a person."""


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


def shown(path: str) -> str:
    """How messages, which are kept, name a picture: a person's by nothing that says whose it is.

    >>> shown("Training/Apple/1.jpg"), shown("photos/4711/Apple/1.jpg")
    ('Training/Apple/1.jpg', "a person's photo")
    """
    return "a person's photo" if is_photo(path) else path
