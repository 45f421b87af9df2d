"""Numbers with nouns for messages."""


def counted(number: int, noun: str) -> str:
    """A number and its noun in the singular or plural.

    >>> counted(1, "file"), counted(-1, "row"), counted(1200, "image")
    ('1 file', '-1 row', '1,200 images')
    """
    return f"{number:,} {noun}{'' if abs(number) == 1 else 's'}"
