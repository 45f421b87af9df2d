"""The project's own code as one small zip for the cluster. Libraries are in `packed_env.py`."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from fruits_assets.settings import PROJECT
from spark_src.errors import ClusterError, SettingsError
from spark_src.io.aws import aws_errors, client, error_code
from spark_src.io.conditional import put_if
from spark_src.io.locations import Location

PACKAGES = ("fruits_assets", "spark_src")
HOST_ONLY = ("fruits_assets/cli", "fruits_assets/host")
"""Packages that no step imports."""

_READ_BY_SOURCES = ("contract.json", "log4j2.properties")

_EARLIEST = (1980, 1, 1, 0, 0, 0)
_READABLE_FILE = 0o100644 << 16
_UNIX = 3


@dataclass(frozen=True)
class CodePackage:
    """A zip for Spark's `--py-files`. The same sources yield the same bytes on any machine."""

    name: str
    """`code-<start of sha256>.zip`."""
    content: bytes
    sha256: str

    @classmethod
    def from_content(cls, content: bytes) -> CodePackage:
        """The package with this content, named by its digest."""
        sha256 = hashlib.sha256(content).hexdigest()
        return cls(f"code-{sha256[:16]}.zip", content, sha256)


def build(root: Path = PROJECT) -> CodePackage:
    """Zip the two packages in `root`.

    Raises:
        ClusterError: one of the packages is missing.
    """
    buffer = io.BytesIO()
    # Not compressed: zlib's output depends on its version, and Python imports it faster.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for file in _sources(root):
            entry = zipfile.ZipInfo(file.relative_to(root).as_posix(), _EARLIEST)
            entry.external_attr = _READABLE_FILE
            entry.create_system = _UNIX
            archive.writestr(entry, file.read_bytes())
    return CodePackage.from_content(buffer.getvalue())


def push(staging: Location, region: str, package: CodePackage | None = None) -> Location:
    """Upload the zip to the folder `staging` unless it is already there.

    The step verifies the digest of the content before running it, because a name proves nothing.

    Args:
        staging: a folder in S3.
        region: the bucket's region.
        package: the package to upload; by default the running code.

    Raises:
        SettingsError: the staging folder is not in S3.
        ClusterError: one of the packages is missing.
        AwsError: S3 refused.
    """
    package = package or build()
    location = staging / package.name
    if object_exists(location, region):
        return location
    put_if(location, package.content, region)  # another run may have just uploaded it
    return location


def object_exists(location: Location, region: str) -> bool:
    """Whether an object exists in S3.

    Raises:
        SettingsError: the location is not in S3.
        AwsError: S3 refused.
    """
    if location.scheme != "s3":
        raise SettingsError(
            f"A cluster cannot read {location}: set FRUITS_STORAGE to an s3:// URI to run on EMR."
        )
    from botocore.exceptions import ClientError  # imported late: botocore takes 0.3 s

    bucket, key = location.bucket_and_key
    with aws_errors(f"looking for {location.uri}"):
        try:
            client("s3", region).head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error_code(error) == "404":
                return False
            raise
    return True


def _sources(root: Path) -> list[Path]:
    """The files to package, sorted by their name in the zip."""
    found: list[Path] = []
    for package in PACKAGES:
        if not (root / package / "__init__.py").is_file():
            raise ClusterError(
                f"There is no package {package} in {root}: start from a checkout of the project."
            )
        found += filter(_is_packaged, (root / package).rglob("*"))
    left_out = [root / package for package in HOST_ONLY]
    found = [file for file in found if not any(map(file.is_relative_to, left_out))]
    return sorted(found, key=lambda file: file.relative_to(root).as_posix())


def _is_packaged(file: Path) -> bool:
    """Whether the file is source. Temporary files of editors begin with a dot."""
    is_source = file.suffix == ".py" or file.name in _READ_BY_SOURCES
    return is_source and not file.name.startswith(".") and file.is_file()
