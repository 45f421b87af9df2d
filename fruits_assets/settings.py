"""The settings, read from the environment and validated. Invalid values are never ignored."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
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
from spark_src.pca.refit import N_COMPONENTS
from spark_src.spark.scratch import FOLDER
from spark_src.tables.vectors import FEATURES

PROJECT = Path(__file__).resolve().parents[1]
ROOT = Path(environment.ROOT)
"""The folder of the default storage."""

BUNDLED = Path(environment.BUNDLED)
IMAGENET = "imagenet"
IMAGENET_WEIGHTS = BUNDLED / "weights" / "mobilenet_v2_1.0_224_no_top.h5"


PREFIX = "FRUITS_"


class Deployment(StrEnum):
    """Where Spark runs."""

    LOCAL = "local"
    EMR = "emr"


class Settings(BaseSettings):
    """The settings from the environment variables `FRUITS_…`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    deployment: Deployment = Deployment.LOCAL
    input: str = str(BUNDLED / "sample" / "fruits-360")
    storage: str = str(ROOT / "data")
    weights: str = IMAGENET
    region: str = "eu-west-1"
    cluster: str = "fruits-features"
    show_photos: bool = False
    """Whether Dagster's metadata may show pictures and paths that may be personal."""
    max_side: int = Field(default=Limits.max_side, ge=448)
    """Maximum side length of stored pictures in pixels; larger ones are scaled down."""
    components: int = Field(default=N_COMPONENTS, ge=1, le=FEATURES)
    """k of runs whose configuration does not set it."""
    candidate: str | None = None
    """Storage of another model's assets, to compare with the current ones."""
    input_queue: str | None = None
    """URL of the SQS queue that receives S3's event notifications of the input."""
    poll_seconds: float = Field(default=15, gt=0)
    """Maximum seconds between two polls of a step on the cluster."""

    @field_validator("input", "storage", "weights", "cluster", "candidate")
    @classmethod
    def _not_empty(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("is empty; unset it to use the default")
        return value

    @field_validator("input", "storage", "weights", "candidate")
    @classmethod
    def _location(cls, value: str | None) -> str | None:
        if value is None:
            return None
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
        raise ValueError(
            f"{value} is not a region in the EU: use one of {', '.join(EU_REGIONS)}.{hint}"
        )

    @field_validator("input_queue")
    @classmethod
    def _queue_in_region(cls, value: str | None, info: ValidationInfo) -> str | None:
        region = info.data.get("region")  # missing if the region itself is invalid
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
        verb = "is" if len(local) == 1 else "are"
        if self.deployment is Deployment.EMR and local:
            raise ValueError(
                f"FRUITS_DEPLOYMENT=emr, but {' and '.join(local)} {verb} on this machine, which "
                "the cluster cannot read. Use s3://bucket/prefix for both."
            )
        return self

    @property
    def variables(self) -> dict[str, str]:
        """All settings as environment variables, for a process on the cluster."""
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
    def candidate_uri(self) -> str | None:
        """The storage of the candidate's assets."""
        return None if self.candidate is None else Location.parse(self.candidate).uri

    @property
    def scratch(self) -> Path:
        """The folder for Spark's spill files: in the storage if that is local."""
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

    def require_in_region(self, locations: Sequence[Location]) -> None:
        """Use this region in the process, and require that the buckets of these locations fit it.

        Raises:
            ResidencyError: a bucket is outside the region or not secure; nothing in it was read.
            AwsError: a bucket could not be inspected.
        """
        use_region(self.region)
        require_in_region(locations)


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value is invalid; the message lists each variable with the reason.
    """
    _require_known(os.environ)
    _require_docstrings()
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("; ".join(map(_problem, error.errors()))) from error


OTHER_VARIABLES = ("TRACEBACK", "REMOTE_STEP")
"""Variables that are not settings, without the prefix."""


def _require_known(names: Iterable[str]) -> None:
    """Refuse unknown variables, because a misspelled setting would be ignored.

    Raises:
        SettingsError: a setting does not exist.
    """
    known = [name.upper() for name in Settings.model_fields] + [*OTHER_VARIABLES]
    for name in sorted(names):
        short = name.upper().removeprefix(PREFIX)
        if name.upper().startswith(PREFIX) and short not in known:
            raise SettingsError(
                f"There is no setting {name}: {did_you_mean(short, known, PREFIX)} Correct the "
                "variable, or unset it."
            )


def _require_docstrings() -> None:
    """Refuse `PYTHONOPTIMIZE=2`, because Spark's Python library reads docstrings when imported.

    Raises:
        SettingsError: this process has no docstrings.
    """
    if sys.flags.optimize > 1:
        raise SettingsError(
            f"PYTHONOPTIMIZE={os.environ.get('PYTHONOPTIMIZE', '2')} removes docstrings, which "
            "Spark needs: unset it, or set it to 1."
        )


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """A sentence that suggests the closest known name, or lists all names if none is close.

    Args:
        name: the unknown name.
        known: the names that exist.
        prefix: begins all names in the sentence; compared, it would make all of them similar.
    """
    names = sorted(known)
    near = get_close_matches(name, names, 1)
    near = near or sorted((known for known in names if known.startswith(name)), key=len)
    if near:
        return f"did you mean {prefix}{near[0]}?"
    return f"choose from {', '.join(prefix + name for name in names)}."


def settings_in_region(storage: Location | None = None, also: Iterable[Location] = ()) -> Settings:
    """The settings, after inspecting the buckets that a command is about to read or write.

    Args:
        storage: the storage to use instead of FRUITS_STORAGE.
        also: everything else that the command accesses, such as pictures.

    Raises:
        SettingsError: a value is invalid.
        ResidencyError: a bucket is outside the region or not secure; nothing in it was read.
        AwsError: a bucket could not be inspected.
    """
    settings = load_settings()
    settings.require_in_region([storage or settings.storage_location, *also])
    return settings


def _problem(found: ErrorDetails) -> str:
    text = found["msg"].removeprefix("Value error, ")
    if not found["loc"]:
        return text  # an error of several settings, which names them itself
    is_own = found["type"] == "value_error"  # of a validator above, whose message has the remedy
    remedy = "" if is_own else ". Correct the variable, or unset it to use the default."
    return f"FRUITS_{str(found['loc'][0]).upper()}={found['input']!r}: {text}{remedy}"
