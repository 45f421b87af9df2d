"""Summarises a listing in one line: splits, labels and ignored files. Opens no file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow.compute as pc

from spark_src.images.layout import is_photo, split_and_label, split_of
from spark_src.images.listing import Listing
from spark_src.text import counted

MOST_NAMED = 3


@dataclass(frozen=True)
class Summary:
    """Splits, labels and photos derived from the folders of an input."""

    n_pictures: int
    splits: Mapping[str, int]
    """Split -> number of files; files without a split are not counted."""
    n_labels: int
    n_photos: int
    """Number of files that are people's photos."""
    ignored: Mapping[str, int]
    """Kind of litter -> number of files."""
    outer_folders: tuple[str, ...] = ()
    """Folders that contain split folders: one of them may be the intended input."""
    root: str = ""

    @property
    def layout(self) -> str:
        """The splits, and how many labels and photos of people there are."""
        parts = [counted(self.n_labels, "label")] if self.n_labels else []
        if self.n_photos:
            parts.append(f"{counted(self.n_photos, 'photo')} of people")
        splits = _join_counts(self.splits)
        return "; ".join([f"splits {splits}" if splits else "no splits", *parts])

    def __str__(self) -> str:
        text = f"{counted(self.n_pictures, 'picture')}: {self.layout}"
        if self.ignored:
            text += f"; {sum(self.ignored.values()):,} ignored ({_join_counts(self.ignored)})"
        return text

    @property
    def warning(self) -> str | None:
        """A warning if the input seems to be the wrong folder, otherwise None."""
        if not self.outer_folders:
            return None
        folders = " and ".join(self.outer_folders[:MOST_NAMED])
        return (
            f"The split folders are under {folders}, not at the top of the input, so no picture "
            f"has a split. Set FRUITS_INPUT to {self.root.rstrip('/')}/{self.outer_folders[0]}."
        )


def summarise(listing: Listing) -> Summary:
    """Count splits and labels by folder, without a Python object per file."""
    paths = listing.files["path"]
    folders = pc.replace_substring_regex(paths, r"[^/]*$", "")
    counts = {item["values"]: item["counts"] for item in pc.value_counts(folders).to_pylist()}
    splits, labels, outer = Counter[str](), set[str](), Counter[str]()
    n_photos = 0
    for folder, count in counts.items():
        split, label = split_and_label(folder)
        splits[split or ""] += count
        labels |= {label} - {None}  # type: ignore[arg-type]
        n_photos += count if is_photo(folder) else 0
        above = _above_split(folder)
        if above:
            outer[above] += count
    del splits[""]
    return Summary(
        n_pictures=listing.n_pictures,
        splits=dict(splits.most_common()),
        n_labels=len(labels),
        n_photos=n_photos,
        ignored=dict(Counter(listing.ignored).most_common()),
        outer_folders=() if splits else tuple(name for name, _ in outer.most_common()),
        root=str(listing.root),
    )


def _above_split(folder: str) -> str | None:
    """The path above the first folder with a split name, or None."""
    if is_photo(folder):
        return None
    parts = folder.split("/")[:-1]
    index = next((number for number, part in enumerate(parts) if split_of(part)), 0)
    return "/".join(parts[:index]) or None


def _join_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
