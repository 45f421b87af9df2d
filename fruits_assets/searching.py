"""`search`: the images of the tables nearest to pictures, for notebooks and scripts. No Spark."""

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
    """The images of the current tables that are nearest to one or several pictures.

    The tables are read by the first call, and again when they changed.

    Args:
        pictures: paths, s3:// URIs or contents of pictures.
        k: how many images to find for each.
        storage: a folder or an s3:// URI; by default what FRUITS_STORAGE says.

    Returns:
        Columns `picture` (its place in `pictures`), `rank` (from 1), `path`, `split`, `label`,
        `image_id`, `distance`. Photos below `photos/` are found where FRUITS_SHOW_PHOTOS=true.

    Raises:
        FruitsError: the tables are not there, or a picture cannot be used; the message says what to
            do.
    """
    import pandas as pd

    from fruits_assets.settings import settings_in_region
    from spark_src.evaluation.search import open_cached, state_of
    from spark_src.images.rejection import Limits
    from spark_src.io.locations import Location
    from spark_src.io.residency import require_in_region
    from spark_src.tables.delta import Tables

    root = [] if storage is None else [Location.parse(str(storage))]
    named = [Location.parse(str(one)) for one in pictures if not isinstance(one, bytes)]
    settings = settings_in_region(*root)
    require_in_region(named, settings.region)
    limits = Limits(max_side=settings.max_side)
    (location,) = root or [settings.storage_location]
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
