"""The arguments that start the cluster, as Terraform wrote them, and the lock. No calls to EMR."""

from __future__ import annotations

import json
from typing import Any

from spark_src.contract import FOLDERS
from spark_src.errors import AwsError, ClusterError
from spark_src.io.aws import aws_errors, client
from spark_src.io.locations import Location

_NEEDED = ("Name", "ReleaseLabel", "Instances", "AutoTerminationPolicy")
"""Without the last one a cluster would never end itself."""


def arguments(storage: Location, name: str, region: str) -> dict[str, Any]:
    """What `run_job_flow` takes to start the cluster.

    They are read from `cluster/<name>.json` of the storage's bucket, which `make up` writes. A
    cluster that has ended is no model: EMR does not tell its policies, and its size is what
    scaling left.

    Raises:
        ClusterError: there is no such file, or it does not hold the arguments of this cluster.
        AwsError: S3 refused or did not answer.
    """
    if storage.scheme != "s3":
        raise ClusterError(
            f"How to start cluster {name} is kept in S3, and FRUITS_STORAGE is {storage}: set it "
            "to the s3:// URI that `make env` prints."
        )
    bucket = storage.bucket_and_key[0]
    place = Location("s3", f"{bucket}/{FOLDERS['cluster']}/{name}.json")
    try:
        found = json.loads(_read(place, region))
    except ValueError as error:
        raise ClusterError(f"{place} is not JSON ({error}): `make up` writes it again.") from error
    missing = [key for key in _NEEDED if not isinstance(found, dict) or key not in found]
    if missing or found["Name"] != name:
        problem = f"lacks {', '.join(missing)}" if missing else f"is for {found['Name']!r}"
        raise ClusterError(f"{place} {problem}: `make up` writes it again.")
    return dict(found)


def lock(storage: Location, name: str) -> Location | None:
    """The object that lets one run start the cluster; None where the storage is local."""
    if storage.scheme != "s3":
        return None
    return storage / FOLDERS["locks"] / f"cluster-{name}.json"


def _read(place: Location, region: str) -> bytes:
    bucket, key = place.bucket_and_key
    try:
        with aws_errors(f"reading {place}"):
            return bytes(client("s3", region).get_object(Bucket=bucket, Key=key)["Body"].read())
    except AwsError as error:
        if error.code not in ("NoSuchKey", "NoSuchBucket"):
            raise
        raise ClusterError(
            f"There is no cluster running, and no {place} that says how to start one. Make both "
            "with `make up`, or correct FRUITS_CLUSTER, FRUITS_STORAGE and FRUITS_REGION."
        ) from error
