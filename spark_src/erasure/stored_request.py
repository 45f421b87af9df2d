"""The content of a request's file. Anyone with write access to the storage can create one."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from spark_src.errors import ErasureError
from spark_src.io.locations import Location

_Counts = dict[str, int | float]


class Progress(BaseModel):
    """The completed stages. The receipt contains them, so texts are not accepted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    begun: AwareDatetime
    pictures: int = 0
    pictures_of_others_too: int = 0
    similar_names: int = 0
    same_name_elsewhere: int = 0
    inputs: _Counts = {}
    rows: _Counts = {}
    proof: _Counts = {}


class StoredRequest(BaseModel):
    """The target and the progress."""

    model_config = ConfigDict(extra="forbid", strict=True)

    subject: str | None
    image_ids: list[str]
    all_owners: bool
    paths: list[str]
    known_image_ids: list[str]
    done: Progress

    @property
    def stages(self) -> dict[str, Any]:
        """Counts and times by stage, without the stages that are not completed."""
        return self.done.model_dump(mode="json", exclude_unset=True)


def read_request(file: Location) -> StoredRequest:
    """Read a request's file.

    Raises:
        ErasureError: it cannot be read, or a field is missing, unknown or of another type.
    """
    try:
        return StoredRequest.model_validate_json(file.read())
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)[0]
        reason = ": ".join([*map(str, found["loc"][:2]), found["msg"]])
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise ErasureError(
        f"{file} is not a valid request ({reason}). Was it edited? Delete it, and run "
        "`fruits erase` again."
    )
