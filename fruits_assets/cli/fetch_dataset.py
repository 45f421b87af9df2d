"""`fruits fetch-dataset`: download Fruits-360, using `dataset/`."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from fruits_assets.settings import ROOT, load_settings
from spark_src.io.locations import Location
from spark_src.text import counted

COMMIT = "019ab6f4eec0f6b9bdae4efe8ee55f377bef8812"
"""Version 2025.03.09.0 of Fruits-360. A commit is a digest, so its content cannot change."""
FRUITS_360 = f"https://github.com/fruits-360/fruits-360-100x100/archive/{COMMIT}.zip"
TARGET = str(ROOT / "data" / "fruits-360")


def fetch_dataset(
    url: Annotated[str, typer.Option(help="URL of a zip of pictures.")] = FRUITS_360,
    to: Annotated[
        str, typer.Option(help="Folder or s3://bucket/folder; created if missing.")
    ] = TARGET,
    sha256: Annotated[str | None, typer.Option(help="Required digest of the files.")] = None,
) -> None:
    """Download Fruits-360 into a folder or a bucket; existing files are kept.

    An interrupted download is resumed. Prints the files' digest, for --sha256, and the command
    that uses the pictures.
    """
    from fruits_assets.dataset.download import fetch

    target = Location.parse(to)
    load_settings().require_in_region([target])
    fetched = fetch(url, target, sha256=sha256)
    added = f", {counted(fetched.added, 'file')} added" if fetched.added else ""
    typer.echo(
        f"{'fetched' if added else 'already there'}: {counted(fetched.images, 'image')}{added}"
    )
    typer.echo(f"sha256 of the files: {fetched.digest}")
    uri = target.path if target.scheme == "file" else target.hadoop  # parse() decodes no %20
    typer.echo(f"next    FRUITS_INPUT={shlex.quote(uri)} uv run fruits run")
