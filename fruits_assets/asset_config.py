"""The base class of the assets' run config. Environment variables are in `settings.py`."""

from typing import Any

import dagster as dg
from pydantic import ValidationError


class AssetConfig(dg.Config):
    """A run config whose invalid values are reported in one sentence, without a traceback."""

    def __init__(self, **values: Any) -> None:
        """Validate the values.

        Raises:
            Failure: a value is invalid; the description names field, value and allowed values.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise dg.Failure(self._sentence(error), allow_retries=False) from None

    @classmethod
    def _sentence(cls, error: ValidationError) -> str:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        known = cls.model_fields.get(field)
        description = (known.description if known else None) or ""
        return f"{field}={first['input']}: {first['msg'].lower()}. {description}".strip()
