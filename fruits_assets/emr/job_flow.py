"""The cluster's start arguments, written by Terraform, and the location of its lock."""

from __future__ import annotations

import json
from typing import Any

from spark_src.contract import FOLDERS
from spark_src.errors import AwsError, ClusterError
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location

_NEEDED = ("Name", "ReleaseLabel", "Instances", "AutoTerminationPolicy")
"""Required keys. Without the last one, a cluster would never terminate itself."""


def arguments(storage: Location, name: str, region: str) -> dict[str, Any]:
    """The arguments of `run_job_flow` that start the cluster.

    They are read from `cluster/<name>.json` in the storage's bucket, which `make up` writes. They
    cannot be derived from a terminated cluster: EMR does not return its policies, and scaling has
    changed its size.

    Raises:
        ClusterError: the file is missing, or is not for this cluster.
        AwsError: S3 refused or did not respond.
    """
    if storage.scheme != "s3":
        raise ClusterError(
            f"The start arguments of cluster {name} are in S3, but FRUITS_STORAGE is {storage}: "
            "set it to the s3:// URI that `make env` prints."
        )
    bucket = storage.bucket_and_key[0]
    file = Location("s3", f"{bucket}/{FOLDERS['cluster']}/{name}.json")
    try:
        found = json.loads(_read(file, region))
    except ValueError as error:
        raise ClusterError(f"{file} is not JSON ({error}): `make up` rewrites it.") from error
    missing = [key for key in _NEEDED if not isinstance(found, dict) or key not in found]
    if missing or found["Name"] != name:
        problem = f"lacks {', '.join(missing)}" if missing else f"is for {found['Name']!r}"
        raise ClusterError(f"{file} {problem}: `make up` rewrites it.")
    return dict(found)


def lock(storage: Location, name: str) -> Location | None:
    """The location of the lock for starting the cluster; None if the storage is local."""
    if storage.scheme != "s3":
        return None
    return storage / FOLDERS["locks"] / f"cluster-{name}.json"


def _read(file: Location, region: str) -> bytes:
    bucket, key = file.bucket_and_key
    try:
        with aws_errors(f"reading {file}"):
            return bytes(client("s3", region).get_object(Bucket=bucket, Key=key)["Body"].read())
    except AwsError as error:
        if error.code not in ("NoSuchKey", "NoSuchBucket"):
            raise
        raise ClusterError(
            f"No cluster is running, and there is no {file} with the arguments to start one. "
            "Create both with `make up`, or correct FRUITS_CLUSTER, FRUITS_STORAGE and "
            "FRUITS_REGION."
        ) from error
