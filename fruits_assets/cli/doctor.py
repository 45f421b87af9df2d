"""`fruits doctor`: check this machine and a folder of pictures before a run. Changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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


class Level(IntEnum):
    """Severity of a finding; the highest is the exit code, as with `fruits check`."""

    GOOD = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True)
class Finding:
    """A line of the report."""

    subject: str
    text: str
    level: Level = Level.GOOD


def doctor(
    folder: Annotated[
        str | None, typer.Argument(help="Folder of pictures; FRUITS_INPUT by default.")
    ] = None,
) -> None:
    """Check this machine and a folder of pictures before the first run.

    Exits with 0 when everything is fine, 1 when there are warnings, 2 when a run would fail.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from fruits_assets.settings import load_settings

    settings = load_settings()
    if folder is not None:
        settings = settings.model_copy(update={"input": folder})
    found = list(_findings(settings))
    table = Table("subject", "finding", "", title="fruits doctor")
    for finding in found:
        table.add_row(finding.subject, escape(finding.text), finding.level.name.lower())
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    worst = max(finding.level for finding in found)
    typer.echo(_next(worst, folder))
    raise typer.Exit(int(worst))


def _next(worst: Level, folder: str | None) -> str:
    variable = f"FRUITS_INPUT={folder} " if folder else ""
    if worst is Level.ERROR:
        return "next    fix the lines marked `error`, then: uv run fruits doctor"
    return f"next    {variable}uv run fruits run"


def _findings(settings: Settings) -> Iterator[Finding]:
    yield from _machine()
    yield _scratch(settings)
    if "s3" in {settings.input_location.scheme, settings.storage_location.scheme}:
        aws = _guarded("AWS", lambda: _aws(settings))
        yield aws
        if aws.level is Level.ERROR:
            return  # the pictures may be in a bucket that must not be read
    yield from _pictures(settings)


def _machine() -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()}, {platform.platform(terse=True)}")
    yield _guarded("Java", _java)
    yield _processor()
    yield _locale()
    yield _host_name()
    yield _proxy()


def _guarded(subject: str, check: Callable[[], Finding]) -> Finding:
    from spark_src.errors import FruitsError

    try:
        return check()
    except FruitsError as error:
        return Finding(subject, str(error), Level.ERROR)


def _java() -> Finding:
    from spark_src.spark.variables import find_java, remove_foreign_variables

    others = sorted(remove_foreign_variables(dict(os.environ)))
    text = find_java()
    return Finding("Java", text + (f"\nnot used: {', '.join(others)}" if others else ""))


def _processor() -> Finding:
    from spark_src.spark.machine import this_machine

    machine = this_machine()
    text = f"{machine.cores} cores, {machine.memory / 1e9:.1f} GB: {machine.workers} workers"
    level = Level.WARNING if machine.workers < machine.cores else Level.GOOD
    return Finding("cores, memory", text, level)


def _scratch(settings: Settings) -> Finding:
    folder = _existing(settings.scratch)
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        text = f"{folder} is not writable: set FRUITS_STORAGE to a folder that you may write to"
        return Finding("storage, scratch", text, Level.ERROR)
    text = f"{settings.scratch}, {free / 1e9:.1f} GB free"
    return Finding("storage, scratch", text, Level.GOOD if free > 2e9 else Level.WARNING)


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.is_dir())


def _locale() -> Finding:
    from spark_src.spark.variables import is_utf8_locale

    name = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG")
    text = name or "none"
    return Finding("locale", text if is_utf8_locale() else f"{text}: C.UTF-8 is used instead")


def _host_name() -> Finding:
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return Finding("host name", f"{name} does not resolve; 127.0.0.1 is used instead")
    return Finding("host name", name)


def _proxy() -> Finding:
    names = ("HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
    given = [name for name in names if os.environ.get(name)]
    missing = [
        name
        for name in given
        if name.isupper() and "PROXY" not in name and not os.path.exists(os.environ[name])
    ]
    if missing:
        text = f"{missing[0]}={os.environ[missing[0]]} does not exist: correct or unset it"
        return Finding("proxy", text, Level.ERROR)
    return Finding("proxy", ", ".join(given) or "none")


def _aws(settings: Settings) -> Finding:
    import boto3

    settings.require_in_region([settings.storage_location, settings.input_location])
    credentials = boto3.Session().get_credentials()
    method = credentials.method if credentials else "none"
    return Finding("AWS", f"{settings.region}, credentials: {method}")


def _pictures(settings: Settings) -> Iterator[Finding]:
    from spark_src.errors import FruitsError
    from spark_src.images.listing import list_files

    try:
        listing = list_files(settings.input_location)
    except FruitsError as error:
        yield Finding("pictures", str(error), Level.ERROR)
        return
    if not listing.files.num_rows:
        text = f"there is no file under {settings.input}: set FRUITS_INPUT to a folder of pictures"
        yield Finding("pictures", text, Level.ERROR)
        return
    paths: list[str] = listing.files["path"].to_pylist()
    yield Finding("pictures", f"{len(paths):,} files, {listing.bytes / 1e6:,.1f} MB")
    yield from _layout(paths, listing)
    yield _collisions(paths)
    yield _estimate(paths, listing, settings)


def _layout(paths: list[str], listing: Listing) -> Iterator[Finding]:
    from spark_src.images.layout import split_and_label

    pairs = [split_and_label(path) for path in paths]
    splits = Counter(split or "(none)" for split, _ in pairs)
    labels = {label for _, label in pairs if label}
    yield Finding("splits, labels", f"{_counts(splits)}; {len(labels):,} labels")
    yield Finding("formats", _counts(Counter(Path(path).suffix.lower() or "-" for path in paths)))
    litter = sum(listing.ignored.values())
    text = f"{litter:,} ignored ({_counts(listing.ignored)})" if litter else "none"
    refused = listing.refused.num_rows
    level = Level.WARNING if refused else Level.GOOD
    text += f"; {refused:,} links or special files, which are rejected" if refused else ""
    yield Finding("litter", text, level)
    yield _components(splits, len(paths))


def _components(splits: Counter[str], n_files: int) -> Finding:
    k = 50
    fitted = next((n for name, n in splits.items() if name.lower() == "training"), n_files)
    if fitted > k:
        return Finding("PCA", f"k = {k}, fitted on at most {fitted:,} pictures")
    text = f"{fitted} pictures to fit on allow at most {max(1, fitted - 1)} of {k} components"
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
    free = shutil.disk_usage(_existing(Path(settings.storage_location.path))).free
    if size > free:
        text += f", but only {free / 1e6:,.0f} MB are free: set FRUITS_STORAGE to a larger disk"
    return Finding("estimate", text, Level.ERROR if size > free else Level.GOOD)


def _counts(counts: Any) -> str:
    most = sorted(counts.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {count:,}" for name, count in most[:6])
    return shown + (f" and {len(most) - 6} more" if len(most) > 6 else "")
