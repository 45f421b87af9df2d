"""The settings, read and validated once. No default is used where a value is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from fruits_assets import environment
from fruits_assets.notifications import InputQueue
from spark_src.contract import EU_REGIONS
from spark_src.errors import SettingsError
from spark_src.images.rejection import Limits
from spark_src.io.aws import use_region
from spark_src.io.locations import Location
from spark_src.io.residency import require_in_region
from spark_src.spark.scratch import FOLDER

PROJECT = Path(__file__).resolve().parents[1]
ROOT = Path(environment.ROOT)
"""Where what is made is stored by default."""

BUNDLED = Path(environment.BUNDLED)
IMAGENET = "imagenet"
IMAGENET_WEIGHTS = BUNDLED / "weights" / "mobilenet_v2_1.0_224_no_top.h5"


class Deployment(StrEnum):
    """Where Spark runs."""

    LOCAL = "local"
    EMR = "emr"


class Settings(BaseSettings):
    """What the environment variables `FRUITS_…` say."""

    model_config = SettingsConfigDict(env_prefix="FRUITS_", frozen=True)

    deployment: Deployment = Deployment.LOCAL
    input: str = str(BUNDLED / "sample" / "fruits-360")
    storage: str = str(ROOT / "data")
    weights: str = IMAGENET
    region: str = "eu-west-1"
    cluster: str = "fruits-features"
    show_photos: bool = False
    """Whether Dagster's metadata may show pictures and paths that can be a person's."""
    max_side: int = Field(default=Limits.max_side, ge=448)
    """Pixels of the longer side of what is kept of a picture; a larger one is reduced to it."""
    input_queue: str | None = None
    """URL of the SQS queue to which S3 announces what comes and goes under the input."""
    poll_seconds: float = Field(default=15, gt=0)
    """The longest pause between two polls of a step on the cluster."""

    @field_validator("input", "storage", "weights", "cluster")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; unset it to use the default")
        return value

    @field_validator("input", "storage", "weights")
    @classmethod
    def _location(cls, value: str) -> str:
        try:
            Location.parse(value)
        except SettingsError as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("region")
    @classmethod
    def _in_the_eu(cls, value: str) -> str:
        if value in EU_REGIONS:
            return value
        hint = " London is not in the EU; Paris is eu-west-3." if value == "eu-west-2" else ""
        raise ValueError(f"{value} is not a region in the EU: use one of {EU_REGIONS}.{hint}")

    @field_validator("input_queue")
    @classmethod
    def _queue_in_region(cls, value: str | None, info: ValidationInfo) -> str | None:
        region = info.data.get("region")  # none where it is wrong itself
        if value is None or region is None:
            return value
        try:
            InputQueue(value, region)
        except SettingsError as error:
            raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _cluster_reads_s3(self) -> Self:
        local = [
            f"FRUITS_{name.upper()}={getattr(self, name)!r}"
            for name in ("input", "storage")
            if Location.parse(getattr(self, name)).scheme != "s3"
        ]
        if self.deployment is Deployment.EMR and local:
            raise ValueError(
                f"FRUITS_DEPLOYMENT=emr, but {' and '.join(local)} is on this machine, which the "
                "cluster cannot see. Give s3://bucket/prefix for both."
            )
        return self

    @property
    def variables(self) -> dict[str, str]:
        """Every setting as its environment variable, for a process on the cluster."""
        known = self.model_dump(exclude_none=True)
        return {f"FRUITS_{name.upper()}": str(value) for name, value in known.items()}

    @cached_property
    def input_location(self) -> Location:
        """The folder of pictures."""
        return Location.parse(self.input)

    @cached_property
    def storage_location(self) -> Location:
        """The folder that holds the assets' versions."""
        return Location.parse(self.storage)

    @property
    def scratch(self) -> Path:
        """The folder for what Spark spills: beside the data where that is on disk."""
        if self.storage_location.scheme == "file":
            return Path(self.storage_location.path) / FOLDER
        return Path(os.environ.get("DAGSTER_HOME") or ROOT / ".dagster") / FOLDER

    @property
    def pinned_weights(self) -> bool:
        """Whether the project's own ImageNet weights are used."""
        return self.weights == IMAGENET

    @cached_property
    def weights_location(self) -> Location:
        """The .h5 file."""
        return Location.parse(str(IMAGENET_WEIGHTS) if self.pinned_weights else self.weights)


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value cannot be used; the message names each variable and why.
    """
    _require_known(os.environ)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(map(_problem, error.errors()))) from error


NO_SETTINGS = ("FRUITS_TRACEBACK", "FRUITS_REMOTE_STEP")
"""Variables that other parts read."""


def _require_known(names: Iterable[str]) -> None:
    """A misspelled setting would be ignored, and its default used.

    Raises:
        SettingsError: there is no setting of that name.
    """
    known = [*(f"FRUITS_{name.upper()}" for name in Settings.model_fields), *NO_SETTINGS]
    for name in sorted(names):
        if name.upper().startswith("FRUITS_") and name.upper() not in known:
            raise SettingsError(
                f"There is no setting {name}: {did_you_mean(name.upper(), known)} Correct the "
                "variable, or unset it."
            )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name that is nearest, as a sentence; where none is near, all of them."""
    names = sorted(known)
    near = get_close_matches(name, names, 1)
    near = near or sorted((known for known in names if known.startswith(name)), key=len)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}."


def settings_in_region(*others: Location) -> Settings:
    """The settings of a command that touches the storage, or `others` in its place.

    Raises:
        SettingsError: a value cannot be used.
        ResidencyError: a bucket is elsewhere or not safe; nothing in it was read.
        AwsError: a bucket could not be inspected.
    """
    settings = load_settings()
    use_region(settings.region)
    require_in_region(others or [settings.storage_location], settings.region)
    return settings


def _problem(found: ErrorDetails) -> str:
    text = found["msg"].removeprefix("Value error, ")
    if not found["loc"]:
        return text  # of several settings together: it names them itself
    return f"FRUITS_{str(found['loc'][0]).upper()}={found['input']!r}: {text}"
