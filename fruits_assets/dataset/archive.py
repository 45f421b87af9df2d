"""Unpacks a zip of pictures to a folder or a bucket, and detects incomplete results."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import zipfile
import zlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from zipfile import ZipFile, ZipInfo

from botocore.exceptions import ClientError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fruits_assets.dataset import bounds
from spark_src.errors import AwsError, DatasetError
from spark_src.io import aws
from spark_src.io.locations import Location

Files = dict[str, ZipInfo]
"""Archive members by path in the dataset."""

_SPLITS = ("Training", "Test")
_PICTURES = (".jpg", ".jpeg", ".png")
_UPLOADS = 16  # half of a client's connection pool
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)


def is_incomplete(location: Location) -> bool:
    """Whether an earlier fetch to this location was interrupted.

    Raises:
        AwsError: the bucket cannot be read.
    """
    if location.scheme == "file":
        return _staging(location).exists()
    bucket, key = _marker(location)
    with aws.aws_errors(f"reading s3://{bucket}/{key}"):
        try:
            aws.client("s3").head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if aws.error_code(error) != "404":
                raise
            return False
    return True


def sizes(to: Location) -> dict[str, int]:
    """Sizes in bytes of all files in the target, by relative path.

    Raises:
        DatasetError: the target is invalid: a file, or a bucket without a prefix.
        AwsError: the bucket cannot be listed.
    """
    if to.scheme == "s3":
        return _objects(to)
    if to.exists() and not to.is_folder():
        raise DatasetError(f"{to} is a file; pass a folder as --to, which need not exist yet.")
    return {to.relative(file.path): file.size for file in to.files()}


@dataclass(frozen=True)
class Contents:
    """The files of a dataset in an archive."""

    files: Files
    digest: str
    """Digest of the files' paths and bytes."""


def contents(file: Path, url: str = "") -> Contents:
    """The files of the dataset: `<Split>/<Label>/file` if it has splits, otherwise unchanged.

    Args:
        file: the zip.
        url: the URL it was downloaded from.

    Raises:
        DatasetError: the zip is damaged or too large, does not match the commit in the URL, has a
            member outside the target, or contains no picture.
    """
    try:
        with Console(stderr=True).status("checking the archive"), ZipFile(file) as archive:
            bounds.require_bounded(archive, file.stat().st_size)
            bounds.require_commit(archive, url)
            files = _files_of(archive)
            return Contents(files, bounds.digest_of(archive, files))
    except _BROKEN as error:
        raise DatasetError(f"it is not a valid zip ({error})") from error


def _files_of(archive: ZipFile) -> Files:
    members = archive.infolist()
    if unsafe := [member.filename for member in members if _leaves_its_folder(member.filename)]:
        raise DatasetError(f"its member {unsafe[0]!r} has an unsafe path")
    found = {str(PurePosixPath(member.filename)): member for member in members}
    files = _strip_outer_folders(
        {path: member for path, member in found.items() if not member.is_dir()}
    )
    if not any(map(is_picture, files)):
        raise DatasetError(f"none of its {len(found):,} members is a .jpg or .png")
    return files


def lay_out(file: Path, missing: Files, to: Location) -> None:
    """Write these members of the zip to `to`, replacing the remains of an interrupted fetch.

    Raises:
        DatasetError: not all could be uploaded.
        AwsError: the bucket cannot be written.
        OSError: the folder cannot be written.
    """
    with ZipFile(file) as archive:
        if to.scheme == "s3":
            _to_bucket(archive, missing, to)
        else:
            _to_folder(archive, missing, to)


def is_picture(path: str) -> bool:
    """Whether the file name has a picture's extension."""
    return path.lower().endswith(_PICTURES)


def _leaves_its_folder(path: str) -> bool:
    """Whether a path is unsafe, by Windows rules: both slashes, and drive letters."""
    windows = PureWindowsPath(path)
    return bool(windows.anchor) or ".." in windows.parts


def _strip_outer_folders(files: Files) -> Files:
    """Strip the folders above the splits or, without splits, a single top-level folder."""
    files = {path: member for path, member in files.items() if not path.startswith("__MACOSX/")}
    parents = _parents_of_splits(files)
    if parents:
        return _only_labelled(
            _relative_to(files, min(parents, key=lambda path: (path.count("/"), path)))
        )
    top, *others = {path.split("/")[0] if "/" in path else "" for path in files} or {""}
    return files if others or not top or top in _SPLITS else _relative_to(files, f"{top}/")


def _parents_of_splits(files: Files) -> set[str]:
    """The folders (with a trailing `/`) that contain both Training/ and Test/."""
    parents: dict[str, set[str]] = defaultdict(set)
    for path in files:
        folders = path.split("/")[:-1]
        for depth, folder in enumerate(folders):
            parents[folder].add("".join(f"{above}/" for above in folders[:depth]))
    training, test = (parents[split] for split in _SPLITS)
    return training & test


def _relative_to(files: Files, folder: str) -> Files:
    return {path[len(folder) :]: file for path, file in files.items() if path.startswith(folder)}


def _only_labelled(files: Files) -> Files:
    """Only files in splits with label folders of pictures: no README, LICENSE or scripts."""
    deep = {path: member for path, member in files.items() if path.count("/") >= 2}
    splits = {path.split("/")[0] for path in deep if is_picture(path)}
    return {path: member for path, member in deep.items() if path.split("/")[0] in splits}


def _staging(to: Location) -> Path:
    """A sibling folder: on the same disk, for an atomic rename, and outside of the input."""
    folder = Path(to.path).resolve()
    return folder.with_name(f".{folder.name}.incomplete")


def _to_folder(archive: ZipFile, missing: Files, to: Location) -> None:
    folder, staging = Path(to.path).resolve(), _staging(to)
    if staging.exists():
        shutil.rmtree(staging)
    if not missing:
        return
    with ExitStack() as undo, _bar() as bar:
        undo.callback(shutil.rmtree, staging, ignore_errors=True)
        for path, member in bar.track(missing.items(), description="writing"):
            _extract(archive, member, staging / path)
        undo.pop_all()  # from here on the folder changes; staging marks it as incomplete
    if not folder.exists() or not any(folder.iterdir()):
        staging.rename(folder)
        return
    for path in missing:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staging / path, folder / path)
    shutil.rmtree(staging)


def _extract(archive: ZipFile, member: ZipInfo, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, file.open("wb") as target:
        shutil.copyfileobj(source, target)


def _split(to: Location) -> tuple[str, str]:
    """Bucket and prefix, both without a slash at the end."""
    bucket, prefix = to.bucket_and_key
    if not prefix:
        raise DatasetError(f"{to} is a bucket; pass a folder in it: {to}/fruits-360.")
    return bucket, prefix


def _marker(to: Location) -> tuple[str, str]:
    """Bucket and key of the marker, next to the prefix, because objects below it are input."""
    bucket, prefix = _split(to)
    return bucket, f"{prefix}.incomplete.json"


def _objects(to: Location) -> dict[str, int]:
    bucket, prefix = _split(to)
    with aws.aws_errors(f"listing {to}"):
        pages = (
            aws.client("s3")
            .get_paginator("list_objects_v2")
            .paginate(Bucket=bucket, Prefix=f"{prefix}/")
        )
        objects = [entry for page in pages for entry in page.get("Contents", [])]
    return {entry["Key"][len(prefix) + 1 :]: entry["Size"] for entry in objects}


def _to_bucket(archive: ZipFile, missing: Files, to: Location) -> None:
    bucket, marker = _marker(to)
    if not missing and not is_incomplete(to):
        return
    with aws.aws_errors(f"writing s3://{bucket}/{marker}"):
        content = json.dumps({"missing": len(missing)}).encode()
        aws.client("s3").put_object(Bucket=bucket, Key=marker, Body=content)
    _upload(archive, missing, to)
    with aws.aws_errors(f"deleting s3://{bucket}/{marker}"):
        aws.client("s3").delete_object(Bucket=bucket, Key=marker)


def _upload(archive: ZipFile, missing: Files, to: Location) -> None:
    bucket, prefix = _split(to)
    client = aws.client("s3")

    def put(path: str, member: ZipInfo) -> None:
        with aws.aws_errors(f"writing {to}/{path}"):
            client.put_object(Bucket=bucket, Key=f"{prefix}/{path}", Body=archive.read(member))

    pool = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="upload")
    uploads = [pool.submit(put, path, member) for path, member in missing.items()]
    try:
        with _bar() as bar:
            for upload in bar.track(as_completed(uploads), len(uploads), description="uploading"):
                upload.result()
    except AwsError as error:
        pool.shutdown(cancel_futures=True)
        uploaded = sum(not each.cancelled() and each.exception() is None for each in uploads)
        raise DatasetError(
            f"{uploaded:,} of {len(uploads):,} missing files were uploaded to {to}, then: {error} "
            "Run the same command again to upload the rest."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C only waits for the 16 uploads in progress


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
