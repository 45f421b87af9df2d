"""How `embedding_quality` is kept: one small JSON file a version."""

import json
from typing import Any

from fruits_assets.io_managers import Say, VersionedIOManager
from spark_src.errors import UnreadableVersionError
from spark_src.evaluation.quality import Quality
from spark_src.io.locations import Location
from spark_src.spark.progress import Work
from spark_src.storage import Version

FILE = "quality.json"


def save(quality: Quality, folder: Location) -> None:
    """Write the file."""
    (folder / FILE).write(json.dumps(quality.record(), indent=2).encode())


class QualityIOManager(VersionedIOManager):
    """`Work` goes in, `Quality` comes out."""

    def write(self, made: Work, asset: str, folder: Location, say: Say) -> dict[str, Any]:
        made.write(folder)
        return made.facts

    def read(self, version: Version) -> Quality:
        file = version.location / FILE
        try:
            return Quality.of_record(json.loads(file.read()))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UnreadableVersionError(
                f"{file} cannot be read ({error}). Make a new one with: "
                "uv run dagster asset materialize --select embedding_quality"
            ) from error
