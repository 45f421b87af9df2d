"""The cluster's Python environment, packed from the lock file. The project's code is not in it."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from fruits_assets.emr.code_package import object_exists
from fruits_assets.settings import PROJECT, ROOT
from spark_src.errors import ClusterError, SettingsError
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location

CLUSTER_PYTHON = "/usr/bin/python3.11"
PYTHON_VERSION = "3.11"
SYSTEM_PYTHON = Path(sys.base_prefix) / "bin" / f"python{PYTHON_VERSION}"
PLATFORM = "x86_64-manylinux_2_34"
"""The platform of m5 nodes with Amazon Linux 2023 (glibc 2.34), not of the packing machine."""

LIMIT_BYTES = 250 * 10**6
"""Maximum archive size: every node downloads and unpacks it before it can work."""

CACHE = ROOT / ".cache" / "cluster-env"

_COMPRESSION = 4
"""Gzip level: level 6 takes twice as long and saves only 3 %."""

_BUILD_VERSION = "3"
"""Raise this when the build steps change the result for the same requirements."""

_FROM_SPARK = ("pyspark", "py4j")
"""Packages that the cluster provides in a matching version."""

_EXCLUDED = (
    *(".lock", ".gitignore", "CACHEDIR.TAG"),
    # Saves 30 of 273 MB: tests of the libraries, and Arrow Flight.
    *("*/site-packages/*/tests/*", "*/site-packages/pyarrow/*flight*"),
)
"""Patterns of files that no step uses."""

_PROBE = "import ai_edge_litert, boto3, dagster, deltalake, numpy, PIL, pyarrow"

Report = Callable[[str], None]
"""Callback with a description of the current step."""

Sent = Callable[[int, int], None]
"""Callback with the number of bytes just sent, and the total."""


def _no_report(_activity: str) -> None:
    pass


def build(
    output: Path | None = None, python: str = PYTHON_VERSION, report: Report = _no_report
) -> Path:
    """Pack the locked packages, unless the archive is already in the cache.

    Args:
        output: the `.tar.gz` to write; by default a file in the cache, `env-<sha256>.tar.gz`.
        python: the interpreter, or Python version, that compiles the environment.
        report: called with a description before each step.

    Raises:
        SettingsError: uv is missing, or the interpreter or the output's name is invalid.
        ClusterError: a step failed, or the archive is too large.
    """
    if output is not None and not output.name.endswith(".tar.gz"):
        raise SettingsError(f"{output} must end with .tar.gz.")
    report("reading the lock file")
    wanted = requirements()
    cached = find_cached(wanted)
    if cached is not None:
        report("unchanged since it was packed")
    else:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="building-") as folder:
            packed = _pack(wanted, Path(folder), python, report)
            cached = CACHE / cache_key(wanted) / archive_name(packed)
            cached.parent.mkdir(exist_ok=True)
            packed.replace(cached)
    if output is None:
        return cached
    output.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(cached, output)
    return output


def requirements() -> str:
    """The locked packages of the group `cluster` with their hashes, without Spark's.

    Raises:
        SettingsError: uv is missing.
        ClusterError: there is no lock file, or it has no such group.
    """
    left_out = [f"--no-emit-package={name}" for name in _FROM_SPARK]
    options = ["--frozen", "--only-group=cluster", "--no-emit-project"]
    return _uv("export", *options, "--no-header", "--no-annotate", "--quiet", *left_out)


def cache_key(wanted: str) -> str:
    """The cache key of these packages, Python version and platform."""
    key = "\n".join([wanted, PYTHON_VERSION, PLATFORM, _BUILD_VERSION])
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def archive_name(archive: Path) -> str:
    """`env-<sha256>.tar.gz`: nodes verify the digest of the download."""
    with archive.open("rb") as stream:
        return f"env-{hashlib.file_digest(stream, 'sha256').hexdigest()}.tar.gz"


def find_cached(wanted: str) -> Path | None:
    """The cached archive of these packages, if it still matches its digest."""
    for archive in sorted((CACHE / cache_key(wanted)).glob("env-*.tar.gz")):
        if archive_name(archive) == archive.name:
            return archive
    return None


def unpack(archive: Path, target: Path, python: Path = SYSTEM_PYTHON) -> Path:
    """Unpack as `infra/cluster/bootstrap.sh` does; return the environment's interpreter.

    Args:
        archive: the result of `build`.
        target: the folder to create.
        python: the machine's Python 3.11; by default the running one.

    Raises:
        ClusterError: the archive is damaged, or its libraries do not run with that Python.
    """
    try:
        with tarfile.open(archive) as packed:
            packed.extractall(target, filter="tar")
        _use_python(target, python)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ClusterError(f"{archive} cannot be unpacked to {target}: {error}.") from error
    interpreter = target / "bin" / "python"
    _run([str(interpreter), "-c", _PROBE], f"importing the libraries with {interpreter}")
    return interpreter


def push(
    folder: Location,
    region: str,
    python: str = PYTHON_VERSION,
    report: Report = _no_report,
    sent: Sent | None = None,
) -> Location:
    """Upload the archive to `folder`, unless it is already there.

    Terraform passes its digest to the nodes, which unpack nothing else, no matter who can write to
    the folder.

    Args:
        folder: a folder in S3.
        region: the bucket's region.
        python: as for `build`.
        report: called with a description before each step.
        sent: called with the upload's progress.

    Raises:
        SettingsError: the folder is not in S3, or as for `build`.
        ClusterError: as for `build`.
        AwsError: S3 refused.
    """
    archive = build(None, python, report)
    location = folder / archive.name
    if object_exists(location, region):
        report(f"{location.uri} already exists")
        return location
    report(f"uploading {archive.stat().st_size / 1e6:.0f} MB to {location.uri}")
    _upload(archive, location, region, sent)
    return location


def _upload(archive: Path, location: Location, region: str, sent: Sent | None) -> None:
    """Upload in parallel parts; a failed multipart upload leaves no object."""
    size = archive.stat().st_size
    bucket, key = location.bucket_and_key
    callback = (lambda more: sent(more, size)) if sent else None
    # `upload_file` would hide S3's error code from `aws_errors`.
    with archive.open("rb") as stream, aws_errors(f"uploading {location.uri}"):
        client("s3", region).upload_fileobj(stream, bucket, key, Callback=callback)


def _pack(wanted: str, folder: Path, python: str, report: Report) -> Path:
    """Install the packages into a new environment in the folder, and pack it."""
    import venv_pack  # imported late, as the cluster does not have it

    environment, packed = folder / "env", folder / "env.tar.gz"
    uncompressed = folder / "env.tar"
    report(f"creating an environment with Python {PYTHON_VERSION}")
    _uv("venv", "--no-project", "--relocatable", "--python", python, str(environment))
    if not (environment / "lib" / f"python{PYTHON_VERSION}").is_dir():
        raise SettingsError(
            f"The cluster runs Python {PYTHON_VERSION}, which {python} is not: "
            f"use --python {PYTHON_VERSION}."
        )
    report("installing the locked packages")
    _install(wanted, environment)
    _use_python(environment, Path(CLUSTER_PYTHON))
    report("packing")
    filters = [("exclude", name) for name in _EXCLUDED]
    try:
        venv_pack.pack(prefix=str(environment), output=str(uncompressed), filters=filters)
    except venv_pack.VenvPackException as error:
        raise ClusterError(f"The environment cannot be packed: {error}") from error
    _compress(uncompressed, packed)
    _require_small(packed)
    return packed


def _compress(uncompressed: Path, packed: Path) -> None:
    """Compress reproducibly: the digest must not depend on the date or the machine."""
    with (
        tarfile.open(uncompressed) as source,
        packed.open("wb") as file,
        gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        for member in sorted(source.getmembers(), key=lambda member: member.name):
            member.uid = member.gid = member.mtime = 0
            member.uname = member.gname = ""
            member.pax_headers = {}
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            target.addfile(member, source.extractfile(member) if member.isfile() else None)


def _install(wanted: str, environment: Path) -> None:
    listed = environment.with_suffix(".txt")
    listed.write_text(wanted)
    # Compiled now, because users of the cluster cannot write to the libraries' folder. Hash-based
    # invalidation, because unpacking and copying change file times.
    _uv(
        *("pip", "install", "--python", str(environment), "--requirements", str(listed)),
        *("--no-deps", "--require-hashes", "--only-binary=:all:", "--compile-bytecode"),
        *("--python-platform", PLATFORM),
        PYC_INVALIDATION_MODE="UNCHECKED_HASH",
    )


def _use_python(environment: Path, python: Path) -> None:
    """Point the environment, which contains no interpreter, to a machine's Python."""
    link = environment / "bin" / "python"
    link.unlink(missing_ok=True)
    link.symlink_to(python)
    config = environment / "pyvenv.cfg"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("home")]
    config.write_text("\n".join([f"home = {python.parent}", *lines, ""]))


def _require_small(archive: Path) -> None:
    size = archive.stat().st_size
    if size > LIMIT_BYTES:
        raise ClusterError(
            f"The cluster's environment is {size / 1e6:.0f} MB packed, which is over the limit of "
            f"{LIMIT_BYTES / 1e6:.0f} MB: remove packages from the dependency group `cluster`."
        )


def _uv(*arguments: str, **variables: str) -> str:
    uv = shutil.which("uv")
    if uv is None:
        raise SettingsError("uv is not on the PATH: install it (docs.astral.sh/uv).")
    subcommand = " ".join(word for word in arguments[:2] if not word.startswith("-"))
    return _run([uv, *arguments], f"uv {subcommand}", **variables)


def _run(command: list[str], activity: str, **variables: str) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=PROJECT,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
            umask=0o022,  # root unpacks the files, and every user of a node has to read them
        )
    except OSError as error:
        raise ClusterError(f"{activity} failed: {error}") from error
    if done.returncode:
        raise ClusterError(
            f"{activity} failed with {done.returncode}: {done.stderr[-2000:].strip()}"
        )
    return done.stdout
