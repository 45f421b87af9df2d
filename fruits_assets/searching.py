"""`search`: find the most similar stored images in notebooks and scripts. No Spark."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def search(
    pictures: Sequence[str | PathLike[str] | bytes],
    k: int = 12,
    storage: str | PathLike[str] | None = None,
) -> pd.DataFrame:
    """Find the stored images that are most similar to each picture.

    The first call reads the tables; later calls read them again only if they have changed.

    Args:
        pictures: paths, s3:// URIs or contents of pictures.
        k: how many images to find per picture.
        storage: a folder or an s3:// URI; FRUITS_STORAGE by default.

    Returns:
        Columns `picture` (index in `pictures`), `rank` (from 1), `path`, `split`, `label`,
        `image_id`, `distance`. Photos under `photos/` are included if FRUITS_SHOW_PHOTOS=true.

    Raises:
        FruitsError: the tables do not exist, or a picture is not usable; the message has the
            remedy.
    """
    import pandas as pd

    from fruits_assets.settings import settings_in_region
    from spark_src.evaluation.search import open_cached, state_of
    from spark_src.images.rejection import Limits
    from spark_src.io.locations import Location
    from spark_src.tables.delta import Tables

    root = None if storage is None else Location.parse(str(storage))
    locations = [
        Location.parse(str(picture)) for picture in pictures if not isinstance(picture, bytes)
    ]
    settings = settings_in_region(root, also=locations)
    limits = Limits(max_side=settings.max_side)
    location = root or settings.storage_location
    state = state_of(Tables(location))
    searcher = open_cached(location.uri, state, settings.show_photos)
    found = []
    for number, picture in enumerate(pictures):
        content = picture if isinstance(picture, bytes) else _content(str(picture))
        rows = searcher.search(content, k, limits)
        rows.insert(0, "picture", number)
        rows.insert(1, "rank", range(1, len(rows) + 1))
        found.append(rows)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _content(file: str) -> bytes:
    from fruits_assets.embedding import read_picture

    return read_picture(file)
