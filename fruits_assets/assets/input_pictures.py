"""`input_pictures`: the external asset for the input, which nothing here materializes."""

import dagster as dg

from fruits_assets.catalog import OWNERS, Group, PersonalData
from spark_src.io.locations import Location

INPUT_PICTURES = "input_pictures"


def input_pictures(location: Location) -> dg.AssetSpec:
    """The folder of pictures, as an asset that Dagster lists but does not materialize."""
    return dg.AssetSpec(
        INPUT_PICTURES,
        group_name=Group.INGEST.value,
        description="The folder of pictures set by FRUITS_INPUT. People and programs write to it, "
        "and `raw_images` reads it.",
        kinds={"s3" if location.scheme == "s3" else "file"},
        owners=OWNERS,
        tags={"personal_data": PersonalData.PHOTOS.value},
        metadata={"dagster/uri": location.uri},
    )
