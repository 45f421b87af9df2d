"""What was understood of an input, in a line: splits, labels, what is ignored. Opens no file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow.compute as pc

from spark_src.images.layout import is_photo, split_and_label, split_of
from spark_src.images.listing import Listing

MOST_NAMED = 3


@dataclass(frozen=True)
class Summary:
    """What the folders of an input say."""

    n_pictures: int
    splits: Mapping[str, int]
    """Split -> files; files of no split are not counted."""
    n_labels: int
    n_photos: int
    """Files that are persons' photos."""
    ignored: Mapping[str, int]
    """Kind of litter -> files."""
    outer_folders: tuple[str, ...] = ()
    """Folders above splits: the input may be meant to be one of them."""
    root: str = ""

    def __str__(self) -> str:
        parts = [f"{count:,} {noun}" for count, noun in self._counts() if count]
        splits = _listed(self.splits)
        noun = "picture" if self.n_pictures == 1 else "pictures"
        text = f"{self.n_pictures:,} {noun}: " + "; ".join(
            [f"splits {splits}" if splits else "no splits", *parts]
        )
        if self.ignored:
            text += f"; {sum(self.ignored.values()):,} ignored ({_listed(self.ignored)})"
        return text

    def _counts(self) -> list[tuple[int, str]]:
        labels = "label" if self.n_labels == 1 else "labels"
        return [(self.n_labels, labels), (self.n_photos, "photos of persons")]

    @property
    def warning(self) -> str | None:
        """What looks like a mistake in the choice of the input; None where nothing does."""
        if not self.outer_folders:
            return None
        named = " and ".join(self.outer_folders[:MOST_NAMED])
        return (
            f"The splits are not at the top of the input but under {named}: no picture has a "
            f"split. Set FRUITS_INPUT to {self.root.rstrip('/')}/{self.outer_folders[0]}."
        )


def summarize(listing: Listing) -> Summary:
    """Count splits and labels by the folders of a listing; no Python object a file."""
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
    """The folders above one that would be a split at the top; None where there is none such."""
    if is_photo(folder):
        return None
    parts = folder.split("/")[:-1]
    index = next((place for place, part in enumerate(parts) if split_of(part)), 0)
    return "/".join(parts[:index]) or None


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
