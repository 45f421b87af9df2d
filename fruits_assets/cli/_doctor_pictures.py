"""The findings of `fruits doctor` about the folder of pictures. No picture is opened."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fruits_assets.cli._finding import Finding, Level, existing_folder

if TYPE_CHECKING:
    from fruits_assets.settings import Settings
    from spark_src.images.listing import Listing

START_SECONDS = 15
"""Start-up time before the first picture: imports, Spark, the model."""

IMAGES_PER_SECOND = 60
"""Throughput of one core for small pictures, from file to features."""

BYTES_PER_SECOND = 15e6
"""JPEG decoding rate of one core, which limits the throughput for large photos."""

ROW_BYTES = 7_000
"""Size of one picture's features, components and CSV line."""

PICTURE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".heic", ".heif", ".hif", ".webp", ".avif"),
        *(".tif", ".tiff", ".bmp", "-"),
    }
)
"""Usual extensions of pictures, and `-` for none. The reader itself goes by content."""

MAX_REJECTED_SHARE = 0.05
"""The default of `ingest.config.max_rejected_share`."""


def picture_findings(settings: Settings) -> Iterator[Finding]:
    """The folder of pictures: size, layout, formats, names, and an estimate of the run."""
    from spark_src.errors import FruitsError
    from spark_src.images.listing import list_files
    from spark_src.images.refresh import require_separate

    try:
        require_separate(settings.input_location, settings.storage_location)
        listing = list_files(settings.input_location)
    except FruitsError as error:
        yield Finding("pictures", str(error), Level.ERROR)
        return
    if not listing.files.num_rows:
        text = f"{_refused(listing)} under {settings.input}, and no file that can be read"
        yield Finding("pictures", text, Level.ERROR)
        return
    paths: list[str] = listing.files["path"].to_pylist()
    yield Finding("pictures", f"{len(paths):,} files, {listing.bytes / 1e6:,.1f} MB")
    yield from _layout(paths, listing, settings.components)
    yield _collisions(paths)
    yield _estimate(paths, listing, settings)


def _layout(paths: list[str], listing: Listing, k: int) -> Iterator[Finding]:
    from spark_src.images.summary import summarise

    found = summarise(listing)
    level = Level.WARNING if found.warning else Level.GOOD
    text = f"{found.layout}\n{found.warning}" if found.warning else found.layout
    yield Finding("splits, labels", text, level)
    yield _formats(Counter(Path(path).suffix.lower() or "-" for path in paths))
    litter = sum(listing.ignored.values())
    text = f"{litter:,} ignored ({_counts(listing.ignored)})" if litter else "none"
    refused = listing.refused.num_rows
    text += f"; {_refused(listing)}" if refused else ""
    yield Finding("litter", text, Level.WARNING if refused else Level.GOOD)
    yield _components(found.splits.get("Training", len(paths)), k)


def _formats(suffixes: Counter[str]) -> Finding:
    from spark_src.images.refresh import MIN_FILES_FOR_SHARE

    others = {name: n for name, n in suffixes.items() if name not in PICTURE_SUFFIXES}
    if not others:
        return Finding("formats", _counts(suffixes))
    text = f"{_counts(suffixes)}\nprobably rejected, because not pictures: {_counts(others)}"
    share, n_files = sum(others.values()) / suffixes.total(), suffixes.total()
    if n_files >= MIN_FILES_FOR_SHARE and share > MAX_REJECTED_SHARE:
        text += (
            f" ({share:.0%} of the files, more than max_rejected_share: "
            f"add --set ingest.max_rejected_share={math.ceil(share * 100) / 100})"
        )
    return Finding("formats", text, Level.WARNING)


def _refused(listing: Listing) -> str:
    reasons = Counter(listing.refused["reason"].to_pylist())
    return f"{listing.refused.num_rows:,} to be rejected ({_counts(reasons)})"


def _components(n_fitted: int, k: int) -> Finding:
    if n_fitted > k:
        return Finding("PCA", f"k = {k}, fitted on at most {n_fitted:,} pictures")
    if n_fitted < 2:
        return Finding("PCA", "one picture to fit on, but PCA needs two or more", Level.ERROR)
    text = f"{n_fitted} pictures to fit on allow at most {n_fitted - 1} of {k} components"
    return Finding("PCA", text, Level.WARNING)


def _collisions(paths: Iterable[str]) -> Finding:
    import unicodedata

    forms: dict[str, str] = {}
    for path in paths:
        key = unicodedata.normalize("NFC", path).casefold()
        if key in forms:
            text = f"{forms[key]!r} and {path!r} differ only in case or Unicode form"
            return Finding("names", f"{text}: macOS and Windows treat them as equal", Level.WARNING)
        forms[key] = path
    return Finding("names", "no two differ only in case or Unicode form")


def estimate(n_files: int, n_bytes: int, cores: int) -> tuple[float, int]:
    """Approximate seconds and bytes that a first run takes."""
    work = max(n_files / IMAGES_PER_SECOND, n_bytes / BYTES_PER_SECOND)
    return START_SECONDS + work / cores, int(n_bytes * 1.1) + n_files * ROW_BYTES


def _estimate(paths: list[str], listing: Listing, settings: Settings) -> Finding:
    from spark_src.spark.machine import this_machine

    seconds, size = estimate(len(paths), listing.bytes, this_machine().workers)
    text = f"about {seconds:,.0f} s and {size / 1e6:,.0f} MB"
    if settings.storage_location.scheme != "file":
        return Finding("estimate", text)
    free = shutil.disk_usage(existing_folder(Path(settings.storage_location.path))).free
    if size > free:
        text += f", but only {free / 1e6:,.0f} MB are free: set FRUITS_STORAGE to a larger disk"
    return Finding("estimate", text, Level.ERROR if size > free else Level.GOOD)


def _counts(counts: Mapping[str, int]) -> str:
    most = sorted(counts.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {count:,}" for name, count in most[:6])
    return shown + (f" and {len(most) - 6} more" if len(most) > 6 else "")
